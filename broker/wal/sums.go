package wal

import "hash/crc32"

// sumsMin is from how many summed bytes on a checksum is carried over instead of computed: below it the
// arithmetic costs more than reading the bytes.
const sumsMin = 16 << 10

// castagnoliPoly is the polynomial of CRC-32C in the reversed order of bits that hash/crc32 uses: the
// highest bit is the coefficient of x^0.
const castagnoliPoly = crc32.Castagnoli

// powers holds x^(8*2^k) modulo the polynomial for each k: what shifting by 2^k bytes multiplies with.
var powers = func() (p [31]uint32) {
	p[0] = 1 << (31 - 8)
	for k := 1; k < len(p); k++ {
		p[k] = multiply(p[k-1], p[k-1])
	}
	return p
}()

// multiply is the product of two polynomials modulo castagnoliPoly.
func multiply(a, b uint32) (product uint32) {
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		// b times x: the coefficient that leaves on the right comes back as the polynomial.
		b = b>>1 ^ castagnoliPoly&-(b&1)
	}
	return product
}

// shift is what a checksum is multiplied with when n more bytes follow. Checksums are remainders of
// polynomials, so with it the checksum of two pieces comes from those of the pieces:
//
//	checksum(a + b) = multiply(checksum(a), shift(len(b))) ^ checksum(b)
//
// (The inversions at both ends of a CRC-32C cancel out.) n is below 2^31.
func shift(n int) uint32 {
	factor := uint32(1 << 31)
	for k := 0; n != 0; k++ {
		if n&1 != 0 {
			factor = multiply(factor, powers[k])
		}
		n >>= 1
	}
	return factor
}
