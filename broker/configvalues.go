package broker

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// What values configs may have: each returns a function that says why a value is not one.

// longFrom takes 64-bit integers from least on.
func longFrom(least int64) func(string) error { return longWithin(least, 1<<63-1) }

// longWithin takes integers from least to most.
func longWithin(least, most int64) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
			return errors.New("not an integer")
		case n < least:
			return fmt.Errorf("below %d", least)
		case n > most:
			return fmt.Errorf("above %d", most)
		}
		return nil
	}
}

func boolean(value string) error { return exactly("true", "false")(value) }

// fraction takes numbers from 0 to 1.
func fraction(value string) error {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return errors.New("not a number from 0 to 1")
	}
	return nil
}

// exactly takes the given words.
func exactly(words ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(words, value) {
			return fmt.Errorf("none of %s", strings.Join(words, ", "))
		}
		return nil
	}
}

// anyOf takes what one of them does, and gives the reason of the last.
func anyOf(checks ...func(string) error) func(string) error {
	return func(value string) (err error) {
		for _, check := range checks {
			if err = check(value); err == nil {
				return nil
			}
		}
		return err
	}
}

// cleanupPolicies takes delete, compact, or both.
func cleanupPolicies(value string) error {
	for _, part := range partsOf(value) {
		if err := exactly("delete", "compact")(part); err != nil {
			return err
		}
	}
	return nil
}

// throttledReplicas wants "*", "none", nothing, or partition:broker pairs with commas between.
func throttledReplicas(value string) error {
	if value == "" || value == "*" || value == "none" {
		return nil
	}
	number := longWithin(0, math.MaxInt32)
	for pair := range strings.SplitSeq(value, ",") {
		partition, node, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || number(partition) != nil || number(node) != nil {
			return fmt.Errorf("%q is no partition:broker pair", pair)
		}
	}
	return nil
}
