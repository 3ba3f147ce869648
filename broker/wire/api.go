package wire

// API is one row of the table of what this broker serves.
type API struct {
	Key        int16
	Name       string
	Advertised int16 // lowest version that ApiVersions names; versions below Min get UNSUPPORTED_VERSION
	Min, Max   int16 // versions served
}

// Supported returns the served APIs sorted by key. The caller owns the slice.
func Supported() []API { return nil }

// Lookup returns the row of key.
func Lookup(key int16) (API, bool) { return API{}, false }
