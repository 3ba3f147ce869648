// Package catalogtest holds a catalog in memory, for tests and simulations. It outlives the store that
// uses it, as a disk does, and an edit happens as a whole or not at all.
package catalogtest

import (
	"bytes"
	"slices"

	"outrigger/broker/catalog"
)

// Catalog is a partition.Catalog. The zero value is empty.
type Catalog struct {
	// Durable, if set, is called around the moment in which edits become durable: apply makes them so.
	// A crash before that moment returns an error without calling it, one after it returns one
	// nevertheless.
	Durable func(apply func()) error

	pairs []pair
}

type pair struct{ key, value []byte }

func byKey(p pair, key []byte) int { return bytes.Compare(p.key, key) }

func (c *Catalog) find(key []byte) (int, bool) { return slices.BinarySearchFunc(c.pairs, key, byKey) }

// Range implements partition.Catalog.
func (c *Catalog) Range(from, until []byte, fn func(key, value []byte) error) error {
	i, _ := c.find(from)
	end, _ := c.find(until)
	for _, p := range c.pairs[i:max(i, end)] {
		if err := fn(p.key, p.value); err != nil {
			return err
		}
	}
	return nil
}

// View implements partition.Catalog.
func (c *Catalog) View() (catalog.View, error) { return view{c.Clone()}, nil }

type view struct{ *Catalog }

// Close implements catalog.View.
func (view) Close() error { return nil }

// Apply implements partition.Catalog.
func (c *Catalog) Apply(edits []catalog.Edit) error {
	apply := func() {
		for _, e := range edits {
			c.apply(e)
		}
	}
	if c.Durable == nil {
		apply()
		return nil
	}
	return c.Durable(apply)
}

func (c *Catalog) apply(e catalog.Edit) {
	i, found := c.find(e.Key)
	switch {
	case e.Until != nil:
		end, _ := c.find(e.Until)
		c.pairs = slices.Delete(c.pairs, i, max(i, end))
	case found:
		c.pairs[i].value = e.Value
	default:
		c.pairs = slices.Insert(c.pairs, i, pair{e.Key, e.Value})
	}
}

// Clone is a catalog with the same pairs, and without Durable.
func (c *Catalog) Clone() *Catalog { return &Catalog{pairs: slices.Clone(c.pairs)} }
