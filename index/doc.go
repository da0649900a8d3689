// Package index knows where each key is: it maps a key's fingerprint to the location of its newest
// record.
//
// It does not store keys. A Fingerprint of 96 bits, with seeds drawn per process, stands for a key,
// and a Location of one word says where a record is. A KeyDir only gives a hint: readers confirm it
// by comparing the key stored in the record.
//
// # Shape
//
// An xsync map finds the page of a bucket, and the page finds the key. The buckets follow linear
// hashing: the low bits of a hash name its bucket, and each new bucket is split off the one whose
// number lacks the highest bit.
//
//	hash  ......................0110
//	      where in the page     bucket 6 of 8, or of 7; of 6 buckets it would be bucket 2
//
// A page is an open-addressed table with linear probing. It contains no pointers, so the garbage
// collector does not scan it. A slot has two words, hash and location, and 32 check bits in a
// separate array. Readers find a key by the 64 bits of its hash, and let the record decide. Writers
// have no record at hand, so they compare the check bits as well.
//
// # What must hold
//
//  1. Every bucket below the count has a page, always. The count never decreases; buckets are not merged.
//  2. Each bucket has one current page: the one in the map. A writer changes or replaces a page
//     only while it holds the page's mutex, and only after it has checked, under the mutex, that
//     the page is not retired.
//  3. A page's range of hashes, its capacity and the owner of each used slot never change. The slot
//     of a deleted key keeps its hash and has location 0; only the same fingerprint uses it again.
//     So a reader that has seen a hash reads a location of that key, or none.
//  4. A new slot gets its location before its hash. Each page has at least one slot that was never
//     used, where probes end.
//  5. A split publishes in this order: the new bucket's page, the count, the old bucket's page
//     without the keys that moved.
//  6. Only one goroutine splits at a time (KeyDir.growing, locked before a page's mutex). While a
//     goroutine holds a page's mutex, it takes no further lock of this package except that of the
//     walkers, and the map's own.
//
// # Why a reader misses no key that is there throughout
//
// Find loads the count, then the page of the bucket that the count names. If that page does not
// cover the hash, Find starts over. Suppose that the page covers the hash. It was in the map when
// Find loaded it, so either it was current for this hash, or a split had just published the count
// but not yet the old bucket's page.
//
//   - Current: all its keys were in it at that time, and no slot loses its owner. If it is replaced
//     while the reader probes, its content stays: retired pages never change. It holds every write
//     up to the replacement. A write after the replacement had not returned when Find began, so the
//     reader may miss it.
//   - Being split: the splitter holds the page's mutex, so the page is frozen, with everything that
//     was written to it. Writers that already work on the new bucket's page have seen the new
//     count. The reader loaded the old count, so Find began before the new count was published, and
//     hence before any of those writes returned.
//
// If the page does not cover the hash, Find has loaded the page that a split left to the old
// bucket. The split published the count before that page, so Find sees a greater count when it
// starts over: it repeats only as often as its own bucket was split in these nanoseconds. Find
// never has to repeat a probe, and does not check the count again afterwards.
//
// The same order gives visibility: a Put that returned is in a page that was current, and a Find
// that starts afterwards sees a count at least as great, and that page or its successor.
//
// # Why Range yields exactly once
//
// Range walks the hashes in the order of their reversed bits. In that order a bucket is one
// contiguous range, and a split cuts that range in half. Range copies the page that covers the hash
// at its cursor, under the mutex, and moves the cursor to the end of that page's range. Ranges are
// only ever cut, so the cursor is always at the start of a range, whatever splits in between. Every
// hash is in exactly one of the ranges walked, and a page has at most one slot per fingerprint.
//
// Range leaves out keys that were inserted while it walks: a callback that puts keys would
// otherwise see more and more of them. To that end the KeyDir notes such keys. All walks share the
// notes, which take at most a quarter of the index's memory. A walk does yield keys inserted while
// the notes are full.
//
// # Two keys taken for one
//
// If two keys have the same 96 bits, a writer takes them for one, and the location of the older one
// is lost: a read of that key reports that it does not exist, and never returns another key's
// value. The next process has other seeds, and finds both keys in the log. Among n keys there are
// n(n-1)/2 pairs, and a pair collides with probability 2^-96 = 1.26e-29:
//
//	n = 1e6    6.3e-18
//	n = 1e9    6.3e-12    5.0e17 pairs
//	n = 1e10   6.3e-10
//
// Here n counts all the keys that one process ever writes. The estimate assumes that maphash under
// two random seeds is as good as two random functions. Hash 0 is stored as 1, which raises the
// probability by a factor of 1 + 2^-63. With the 64 bits of the hash alone, a store of 1e9 keys
// would have such a pair with a probability of 2.7 percent; this is how often readers see a second
// candidate at all.
//
// # Memory and growth
//
// A bucket is split whenever the average page has more keys than three quarters of
// Options.PageSlots: by default, once every 3,072 inserts. The buckets not yet split in a round
// hold twice as many keys as the others, so pages hold from half to twice that number. A page is
// built 5/8 full, and rebuilt when it is 7/8 full. A slot takes 20 bytes, so a key in a growing
// store takes 23 to 32 bytes, 27 on average. Because buckets split one after the other, pages do
// not fill up at the same time. No call copies more than one page, some 6,000 slots by default
// (Sweep and Trim: one page at a time), and on average one insert in a thousand copies one. A
// system call populates the memory of a page when the page is made: to fault it in piece by piece
// takes longer than to fill it.
//
// If keys are inserted and deleted, deleted keys use up slots, too. When the used slots reach 7/8,
// the page is rebuilt with the capacity that its keys need, larger or smaller. A page is also
// rebuilt when deletes leave no more than a quarter of it alive, or by Trim if that saves a quarter
// of it: a store that opens expects as many keys as all its hints have together. So mass deletes
// free memory, down to a smallest page (64 slots by default) for each bucket; the buckets remain.
//
// The map of pages doubles like any xsync map: goroutines that replace a page at that time wait
// until the map's pointers are copied. There are 3,000 times fewer pointers than keys, and
// ExpectedKeys makes room for them from the start.
package index
