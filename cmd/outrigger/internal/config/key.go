package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind says how a value is written.
type Kind uint8

// The kinds of value.
const (
	// Text is taken as it stands.
	Text Kind = iota
	// Integer is a decimal number within the key's bounds.
	Integer
	// Flag is "true" or "false", in any case.
	Flag
	// Choice is one of the key's OneOf.
	Choice
	// List is a comma-separated list; with OneOf, of those.
	List
	// Fraction is a number from 0 to 1.
	Fraction
	// Rate is a number from 1 on, with a fraction or an exponent if need be.
	Rate
)

// Effect says what setting a key does.
type Effect uint8

// The effects.
const (
	// InForce: this version acts on the key.
	InForce Effect = iota
	// NoEffect: Kafka has the key; it is checked, named in one warning when set, and nothing more.
	NoEffect
	// Silent: accepted without effect and without a word, since what it asks for is what we do.
	Silent
)

// Key describes one configuration key.
type Key struct {
	Name string
	Kind Kind
	// Default is written as an operator would; empty means unset, and Doc says what happens then.
	Default string
	// Unit is that of an Integer: "ms", "bytes", "hours" or empty for a count.
	Unit string
	// Min and Max bound an Integer, both inclusive.
	Min, Max int64
	// OneOf lists what a Choice, or each element of a List, may be.
	OneOf []string
	// Secret values are never shown.
	Secret bool
	Effect Effect
	// Doc is one sentence for the operator.
	Doc string
}

// check returns why value breaks the key's rules, or an empty string. The reason completes the
// sentence "<key>=<value> is refused: ...".
func (k Key) check(value string) string {
	switch k.Kind {
	case Integer:
		return k.checkInteger(value)
	case Flag:
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return "want true or false"
		}
	case Choice:
		if !slices.Contains(k.OneOf, value) {
			return "want one of " + strings.Join(k.OneOf, ", ")
		}
	case Fraction:
		if x, err := strconv.ParseFloat(value, 64); err != nil || !(x >= 0 && x <= 1) {
			return "want a number from 0 to 1"
		}
	case Rate:
		if x, err := strconv.ParseFloat(value, 64); err != nil || !(x >= 1) {
			return "want a number, 1 at least"
		}
	case List:
		for _, element := range splitList(value) {
			if len(k.OneOf) > 0 && !slices.Contains(k.OneOf, element) {
				return fmt.Sprintf("%q is none of %s", element, strings.Join(k.OneOf, ", "))
			}
		}
	}
	return ""
}

func (k Key) checkInteger(value string) string {
	number, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil && strings.Trim(value, "+-0123456789") == "" && value != "":
		return "the number does not fit 64 bits"
	case err != nil:
		return "want a whole number"
	case number < k.Min:
		return fmt.Sprintf("want at least %d%s", k.Min, k.unitSuffix())
	case number > k.Max:
		return fmt.Sprintf("want at most %d%s", k.Max, k.unitSuffix())
	}
	return ""
}

func (k Key) unitSuffix() string {
	if k.Unit == "" {
		return ""
	}
	return " " + k.Unit
}

// splitList cuts a comma-separated list; blanks around elements and empty elements go.
func splitList(value string) []string {
	var elements []string
	for element := range strings.SplitSeq(value, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}

// The bounds of a key that we do not act on: only its being a number is checked.
const (
	anyMin = math.MinInt64
	anyMax = math.MaxInt64
)
