package config

import (
	"fmt"
	"strings"
)

// Print writes every key in force as a server.properties file would, with its source above each
// that is not a default, and the keys without effect as comments. Secrets are redacted.
func (c *Config) Print() string {
	var out strings.Builder
	for _, key := range Table() {
		setting, set := c.settings[key.Name]
		switch {
		case key.Effect != InForce && set:
			fmt.Fprintf(&out, "# without effect, from %s: %s=%s\n", setting.Source, key.Name, setting.Value)
		case key.Effect == InForce && set && setting.Source != sourceDefault:
			fmt.Fprintf(&out, "# %s\n%s=%s\n", setting.Source, key.Name, key.show(setting.Value))
		case key.Effect == InForce:
			fmt.Fprintf(&out, "%s=%s\n", key.Name, key.show(setting.Value))
		}
	}
	return out.String()
}

// show is value unless it is a secret.
func (k Key) show(value string) string {
	if k.Secret && value != "" {
		return Redacted
	}
	return value
}

// Setting is the value in force of a key and who said it; secrets are redacted.
func (c *Config) Setting(name string) (Setting, bool) {
	setting, ok := c.settings[name]
	for _, key := range Table() {
		if key.Name == name {
			setting.Value = key.show(setting.Value)
		}
	}
	return setting, ok
}

// Property is one key in force as clients may be told of it.
type Property struct {
	Name  string
	Value string
	// Set: somebody set it, it is no default. Default is the value without that, "" for none.
	Set     bool
	Default string
	Secret  bool
	Kind    Kind
	// Max bounds an Integer.
	Max int64
	Doc string
}

// Properties are all keys in force. The values of secrets are left out.
func (c *Config) Properties() []Property {
	var properties []Property
	for _, key := range Table() {
		if key.Effect != InForce {
			continue
		}
		setting := c.settings[key.Name]
		property := Property{Name: key.Name, Value: setting.Value, Secret: key.Secret,
			Kind: key.Kind, Max: key.Max, Default: key.Default, Doc: key.Doc,
			Set: setting.Source != sourceDefault && setting.Source != ""}
		if key.Secret {
			property.Value = ""
		}
		properties = append(properties, property)
	}
	return properties
}
