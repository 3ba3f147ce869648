package nemesis

// Budget counts directories that were lost since every in-sync set was last full. The guarantees
// survive min.insync.replicas-1 of them.
type Budget struct {
	max  int
	lost map[int]bool
}

// NewBudget permits minInSync-1 losses at a time.
func NewBudget(minInSync int) *Budget {
	return &Budget{max: minInSync - 1, lost: map[int]bool{}}
}

// Permits reports whether this broker's directory may be lost now. One that is lost already may be
// lost again.
func (b *Budget) Permits(node int) bool { return b.lost[node] || len(b.lost) < b.max }

// Spend notes that a directory is lost, or may be. Beyond the maximum it panics: the run would blame
// the brokers for what the nemesis did.
func (b *Budget) Spend(node int) {
	if !b.Permits(node) {
		panic("nemesis: more directories lost than the guarantees permit")
	}
	b.lost[node] = true
}

// Restored notes that every in-sync set is full again, and every broker a voter.
func (b *Budget) Restored() { clear(b.lost) }
