// Package wal is the write-ahead log of one node: one append-only chain of groups, shared by all
// partitions, because one sync for all of them costs a twelfth of one each. It owns the files in its
// directory and nobody else touches them.
//
// # Flow
//
//	Reserve ──> ledger: queue bytes and file space, before an offset is assigned
//	Append ───> queue ──> writer: open group ──> sealed ──> disk: write, sync ──> durable
//	                  (Run or Driver)              │                                 │
//	                                          Sink.Sealed                       Sink.Durable
//	preparer: allocate, zero-fill, header, sync, rename ──> files ahead of the writer
//	Open <── walk along the chain;  Scan, ReadRecord <── files, up to the durable end
//
// A refused reservation is back-pressure: the queue is full, or the disk is. Records that give space back have
// room of their own (Relief), else a full disk would be for ever. An error of I/O on
// reserved space, or of a sync, fails the log for ever, since nobody knows what the device has then.
//
// When the disk is idle a record is written at once, in a group of its own. While it is busy the next
// group fills, and under load groups grow to GroupBytesMax. A group is written with one direct write
// of whole blocks, past the page cache, where the file system grants that; it never shares a block
// with another group, so that a block that was synced is never written again. Under Always what was
// written is synced before the group is reported durable: by the write itself (RWF_DSYNC), which the
// kernel carries out while no thread waits, or by fdatasync where that is not to be had: Open says so to
// the Logger. A group that is not small is filled on huge pages, which the kernel pins, and the device
// takes, at a time. Under an interval a group is reported once
// its write has returned: a killed process loses nothing, a machine that loses power loses up to the
// interval, acknowledged or not.
//
// # Goroutines
//
//	writer    Run itself; fills and seals groups, calls the Sink
//	disk      started by Run; writes, syncs and closes files; at most two jobs under way
//	preparer  started by Run; keeps FilesAhead files ready, waits for space on a full disk
//	scrub     started by Run; sleeps, and now and then reads what is durable in search of damage
//	ahead     two, started by Run; read what Prefetch was told of into the cache
//	shrink    started by Run; sleeps, and gives back memory of the cache that nobody uses
//
// Run waits for the others. A Driver turns the first three by hand instead, from one goroutine, for
// simulations: the same code, and the order of the steps is the caller's. One mutex guards the queue, the ledger and the table of files; it is
// never held over I/O or a call of the Sink.
//
// # Drain
//
// A file that is full and durable, or that was sealed before it is full (Seal), can be drained: whoever knows what the records mean reads it, copies
// into a pack those that are still needed, makes durable where they lie now and where the chain begins
// (Config.Start), and retires the file, which is then written again under a new number.
//
//	Sealed, ReadSealed ──> NewPack, Add, Finish ──> the caller's commit ──> Adopt, Retire ──> spare
//
// A crash before the commit leaves a pack that nobody knows, which Open removes; one after it leaves
// files before the start, which Open recycles. A reader that comes late finds the file gone, or bytes of
// its next life that fail their checksums: ErrMoved, and it asks for the new place.
//
// # Reads
//
// What nobody holds in memory any more is read in one of two ways. ReadRecord and Scan read into memory
// of their own. A Loan reads whole chunks of files into a cache and lends its reader pieces of them until
// they are on their way to a client; those who read the same region share its chunks, and what a reader
// will want next is read ahead. Both read past the page cache and verify the checksum of every record.
//
//	Lend ──> Loan.Record ──> cache: chunk there, else read ──> pieces, until Release
//	Prefetch ──> ahead ───────────^
//
// The memory of the cache is bounded. What is lent is not taken away: if all of it is lent, the answer is
// ErrNotLent, and the reader makes do with little memory of its own.
//
// # Files
//
//	00000000000000000007.wal    number 7; numbers have no gaps
//	00000000000000000008.new    being filled, removed at Open
//	00000000000000000009.spare  filled once and free to become the next number
//	00000000000000000003.pack   drained records, sorted by partition; see Pack
//	00000000000000000003.pack.orphan
//	                            one that was found and is not known
//	00000000000000000005-<session>.mended
//	                            takes the place of a damaged file 5; see Quarantine
//	quarantine-<session>/       what was set aside: nobody but people touches it
//	scrub                       how far the scrub has come; see scrubNote
//	lock                        locked by the process that has the log open; its pid
//
// A file is allocated, written through with zeros and synced with its header before a rename gives it
// its number, and the directory is synced before a group goes into it. So a numbered file always has
// its full size and a valid header; if not, that is damage. All numbers are little-endian, all
// checksums are CRC-32C.
//
//	file    +-------------+---------+---------+-- - - --+------------------------+
//	        | header      | group   | group   |         | zeros, or old bytes of |
//	        | 4096 bytes  | n*4096  | n*4096  |         | an earlier life        |
//	        +-------------+---------+---------+-- - - --+------------------------+
//
//	header   0  4  magic "ORWF"
//	         4  2  format version, 1
//	         6  2  zero
//	         8  8  generation: the file's number, also a recycled file's
//	        16  8  session of the process that writes the file
//	        24  8  highest sequence known synced when this was written
//	        32  8  size of the file
//	        40  8  first file that was needed when this was written, or zero
//	        48 12  zero
//	        60  4  checksum of bytes 0 to 59
//
//	group   +----------+--------+--------+-- - - --+--------------------+
//	        | header   | record | record |         | zeros to a multiple |
//	        | 64 bytes | n*8    | n*8    |         | of 4096             |
//	        +----------+--------+--------+-- - - --+--------------------+
//
//	header   0  4  magic "ORWG"
//	         4  2  format version, 1
//	         6  2  zero
//	         8  8  sequence, one more than the group's before
//	        16  8  generation of the file
//	        24  8  session
//	        32  8  highest sequence known synced when this was written
//	        40  4  length of header and records, without padding
//	        44  4  number of records
//	        48  4  checksum of the group before, zero for the first
//	        52  8  zero
//	        60  4  checksum of the records, then of bytes 0 to 59
//
//	record   0  1  kind, 1 to 5
//	         1  3  zero
//	         4  4  checksum of generation and session (8 bytes each), then of bytes 0 to 3, then of all
//	               from byte 8 to the record's end
//	         8  4  length of the payload
//	        12  4  count
//	        16 16  topic id
//	        32  4  partition
//	        36  4  leader epoch
//	        40  8  base offset
//	        48  n  payload, zeros to a multiple of 8
//
// The first byte at any place where something can begin tells what it is: a magic, a kind, or padding.
//
// # Recovery
//
// The blocks of a group reach the device in any order, so the group is the unit: its checksum holds or
// it is not there. Open follows the chain: the next group carries the next sequence and the checksum
// of the last one, and the generation and session of its file's header. Old groups of a recycled file,
// and what a torn write left, fail at least one of these.
//
//	file 7  [header s=A] [n-2] [n-1] [n torn......]        A crashes while it writes n
//	file 8  [header s=B] [n'] [n'+1] ...                   B recovers up to n-1 and goes on in 8
//
// Where the chain stops in one file it may go on at the start of a later one, as above. Where it stops
// for good after n-1, everything valid that lies behind is a witness, file headers included: if one of
// them says that n, or a later group, was synced, then synced bytes are gone and Open refuses with a
// *Damage that names the place. If none does, the tail is torn: the writes were never synced, or at
// least nobody was told so. A file that is missing, cut short or without a valid header is damage
// without any witness. A run that ends in good order writes one empty group as the witness of the
// last. One thing looks like a torn tail and is not: the very last group of a run that was killed, and
// then spoilt on the device before the next Open. The next run's file headers witness it.
//
// A block that the device does not give back, asked twice, is damage wherever a group may lie, at the very end, too: it
// may have been acknowledged. A torn write can be read as a rule, but some devices that lose power in the middle of one
// refuse that sector from then on; here this cannot be told apart, so it costs a filling from the leaders. It is no
// damage behind the last group of a file that the chain has left, nor behind a clean stop. The header of a file is damage
// in any of them.
//
// Before Open returns, what it found is synced, file and directory, and only then are unused files at
// the end given up and a new file begun. The torn bytes stay. Every one of these steps can be cut
// short by another crash and be done again.
//
// After damage, Quarantine leaves a log that ends where the damage begins. All that a log told before
// that it holds may then be missing from it, so this is for a node that has renamed itself first.
package wal
