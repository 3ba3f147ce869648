package wal

import "hash/crc32"

// sumsMin is from how many summed bytes on a checksum is carried over instead of computed: below it the
// arithmetic costs more than reading the bytes.
const sumsMin = 2 << 10

// castagnoliPoly is the polynomial of CRC-32C in the reversed order of bits that hash/crc32 uses: the
// highest bit is the coefficient of x^0.
const castagnoliPoly = crc32.Castagnoli

// shifts holds shift of each number that has one byte set, by that byte's place.
var shifts = func() (s [4][256]uint32) {
	power := uint32(1 << (31 - 8)) // x^8: one more byte
	for place := range s {
		s[place][0] = 1 << 31
		for i := 1; i < len(s[place]); i++ {
			s[place][i] = multiply(s[place][i-1], power)
		}
		power = multiply(s[place][255], power)
	}
	return s
}()

// multiply is the product of two polynomials modulo castagnoliPoly. It has no branches: the bits are random, so that half
// of them would be foreseen wrongly.
func multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		product ^= b & uint32(int32(a)>>31)
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
	factor := shifts[0][n&255]
	for place := 1; n > 255; place++ {
		if n >>= 8; n&255 != 0 {
			factor = multiply(factor, shifts[place][n&255])
		}
	}
	return factor
}
