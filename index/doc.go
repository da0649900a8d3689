// Package index knows where each key is: it maps a key's fingerprint to the location of its newest record.
//
// Keys are not kept. A key is a Fingerprint of 96 bits, whose seeds are drawn per process, and a record's place is a
// Location of one word. What a KeyDir says is a hint that the record confirms: readers compare the key stored there.
//
// # Shape
//
// An xsync map finds the page of a bucket, the page finds the key. The buckets are those of linear hashing: with n of
// them a hash belongs to the one its low bits name, and the next bucket is always made out of the one without the
// highest bit.
//
//	hash  ......................0110
//	      where in the page     bucket 6 of 8, or of 7; of 6 buckets it would be bucket 2
//
// A page is an open-addressed table with linear probing, free of pointers, so that the garbage collector does not look
// inside: two words a slot, hash and location, and beside it 32 check bits a slot. Readers find a key by the 64 bits of
// its hash and let the record tell. Writers have no record at hand, so they compare the check too.
//
// # What must hold
//
//  1. Every bucket below the count has a page, always. The count never decreases; buckets are not merged.
//  2. Of the pages of a bucket there is one current one, that which the map holds. A page is changed and replaced only
//     with its mutex held, and only after a look, under the mutex, that it is not retired.
//  3. A page's range of hashes, its capacity and the owner of each used slot never change. A deleted key's slot keeps
//     its hash and has location 0; only the same fingerprint uses it again. So a reader who has seen a hash reads a
//     location of that key, or none.
//  4. A new slot gets its location before its hash. A page has at least one slot that was never used, where probes end.
//  5. A split publishes in this order: the new bucket's page, the count, the old bucket's page without what moved.
//  6. Only one goroutine splits at a time (KeyDir.growing, locked before a page's mutex). The mutex of a page is the last
//     lock anybody takes here, the map's own excepted.
//
// # Why a reader misses no key that is there throughout
//
// Find loads the count, then the page of the bucket that the count names. If the page does not cover the hash, it starts
// again. So let it have loaded a page that covers the hash. When it was loaded it was in the map, and so either it was
// current for this hash, or a split had just published the count and not yet the old bucket's page.
//
//   - Current: all its keys were in it then, and no slot loses its owner. If it is replaced while the reader probes, it
//     keeps what it had: retired pages are never changed. Every write up to the replacement is in it. A write after the
//     replacement is one that had not returned when Find began, and the reader may come before it.
//   - Just being split: the page is frozen, as its mutex is held, with all that had been written to it. Writers who
//     already work on the new bucket's page have seen the new count. The reader loaded the old one, so Find began before
//     that count was there, and hence before any of those writes did return.
//
// And when the page does not cover the hash, the old bucket's new page was loaded. The count was published before it,
// so that the next round sees a greater count: a reader goes round only as often as its own bucket has been split in
// these nanoseconds. A probe never has to be repeated; the count needs no second look behind it.
//
// The same order gives visibility: a Put that returned is in a page that was current, and a Find that starts afterwards
// sees a count at least as great, and that page or its successor.
//
// # Why Range yields exactly once
//
// Range walks the hashes in the order of their reversed bits. In that order a bucket is one unbroken stretch, and a
// split cuts it in two at the middle. Range copies the page that covers the hash at its cursor, under the mutex, and
// moves the cursor to the end of that page's stretch. Since stretches are only ever cut, the cursor is at the beginning
// of one whatever is split in between. Every hash is in exactly one of the stretches walked, and within a page a
// fingerprint has at most one slot.
//
// Keys that come while somebody walks are noted, and left out: a caller that puts keys while it walks would otherwise meet
// ever more of them. All walks share the notes, which take a quarter of the index's memory at most. Keys that come when
// they are full are walked.
//
// # Two keys taken for one
//
// If two keys have the same 96 bits, a writer takes them for one, and the location of the older one is lost: reads of it
// say that it is not there, never another's value. The next process has other seeds and finds both in the log.
// Among n keys there are n(n-1)/2 pairs, and a pair agrees with 2^-96 = 1.26e-29:
//
//	n = 1e6    6.3e-18
//	n = 1e9    6.3e-12    5.0e17 pairs
//	n = 1e10   6.3e-10
//
// Here n counts all the keys that one process ever writes. It takes for granted that maphash under two random seeds is
// as good as two random functions. Hash 0 counts as 1, which adds a 2^-63rd part. With 64 bits alone a store of 1e9 keys
// would have such a pair with 2.7 percent; this is how often readers meet a second candidate at all.
//
// # Memory and growth
//
// A bucket is split whenever the keys exceed three quarters of Options.PageSlots for each page on the average: at the
// default one split for every 3,072 inserts. The buckets not yet split in a round hold twice as much as the others, so
// pages have from half to twice that many keys. A page is built 5/8 full and rebuilt when it is 7/8 full. A slot has 20
// bytes, which makes 23 to 32 a key in a store that grows, 27 on the average. Since one bucket is split after the other,
// pages are not full at the same time. No call copies more than one page, some 6,000 slots at the default (Sweep and
// Trim: one page at a time), and on the average one insert in a thousand copies one. The memory of a page is provided
// when it is made, by a system call: to touch it page by page takes longer than to fill it.
//
// A page in which keys come and go is worn when the used slots reach 7/8, and is rebuilt with the capacity that its keys
// need, larger or smaller. It is also rebuilt when deletes have left no more than a quarter of it alive, or by Trim, when
// a quarter of it would be saved: a store that opens expects as many keys as its hints have together. So memory comes
// back after mass deletes, down to a smallest page (64 slots at the default) for each bucket; the buckets remain.
//
// The map of pages doubles like any xsync map: those who replace a page meanwhile wait until its pointers are copied.
// There are 3,000 times fewer of those than keys; with ExpectedKeys there is room for them from the start.
package index
