package history

import (
	"errors"
	"io"
)

var errNoFile = errors.New("history files are not supported yet")

// WriteTo writes the history as JSON lines. Nobody may write to the history meanwhile.
func (h *History) WriteTo(io.Writer) (int64, error) { return 0, errNoFile }

// Read reads what WriteTo wrote.
func Read(io.Reader) (*History, error) { return nil, errNoFile }
