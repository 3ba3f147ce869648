//go:build !linux

package plain

import (
	"context"
	"errors"
	"time"
)

// Groups needs direct I/O, which is asked for in another way on every system.
func Groups(context.Context, string, []int64, time.Duration) (Rate, error) {
	return Rate{}, errors.New("the plain program writes with direct I/O, which is for Linux")
}
