package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/segment"
)

func newDump(t *target) *cobra.Command {
	var salt string
	cmd := &cobra.Command{
		Use:   "dump FILE...",
		Short: "Print segments, hints and manifests in readable form",
		Long: `Prints every record of a segment, every entry of a hint, whole or partial, or what
a manifest lists, with offsets. It does not open the store and changes nothing. It
recognises a file by its first bytes, or else by its name.

The checksums of a segment and its hint depend on a random number, the salt, which
is in the segment's header and in the manifest. If the header of a segment is
damaged, dump takes the salt from the MANIFEST beside it; for a hint it takes the
salt from the segment, or else from the MANIFEST. --salt overrides both. The exit
code is 4 if something does not validate. After a crash, that is normal at the end
of the file that was being written.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := dumper{target: t, out: bufio.NewWriter(cmd.OutOrStdout())}
			if salt != "" {
				n, err := strconv.ParseUint(strings.TrimPrefix(salt, "0x"), 16, 64)
				if err != nil {
					return fmt.Errorf("%w: --salt takes 16 hexadecimal digits, not %q", errUsage, salt)
				}
				d.salt = &n
			}
			var err error
			for _, path := range args {
				err = errors.Join(err, d.dump(path))
			}
			return errors.Join(err, d.out.Flush())
		},
	}
	cmd.Flags().StringVar(&salt, "salt", "", "the salt of the files, in hexadecimal")
	return cmd
}

// dumper prints files of a store.
type dumper struct {
	*target
	out  *bufio.Writer
	salt *uint64 // of --salt, for all files; nil: each file has its own

	path string
	file *os.File
	size int64
	bad  error // the first thing in the file that does not validate
}

// part is one line of output: a header, a record, an entry, a listed segment, or a
// range that does not validate. Text output shows only the fields that are set.
type part struct {
	What     string  `json:"what"`
	File     string  `json:"file,omitempty"`
	Offset   int64   `json:"offset"`
	Size     int64   `json:"size,omitempty"`
	Seq      uint64  `json:"seq,omitempty"`
	Key      *string `json:"key,omitempty"`
	Key64    []byte  `json:"key64,omitempty"`
	Value    *int64  `json:"valueSize,omitempty"`
	BadValue bool    `json:"badValue,omitempty"`
	Expires  int64   `json:"expires,omitempty"` // Unix milliseconds
	Note     string  `json:"note,omitempty"`
}

func (d *dumper) dump(path string) (err error) {
	d.path, d.bad = path, nil
	info, err := os.Stat(path) // opening a pipe would block
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", errUsage, path)
	}
	if d.file, err = os.Open(path); err != nil {
		return err
	}
	defer d.file.Close()
	d.size = info.Size()
	kind, err := d.kind()
	if err != nil {
		return err
	}
	switch kind {
	case segment.SegmentFile:
		err = d.dumpSegment()
	case segment.HintFile:
		err = d.dumpHint()
	case segment.PartialFile:
		err = d.dumpPartial()
	case segment.ManifestFile:
		err = d.dumpManifest()
	}
	return errors.Join(err, d.bad)
}

// kind finds out what the file is.
func (d *dumper) kind() (segment.FileKind, error) {
	var head [8]byte
	if _, err := d.file.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return 0, err
	}
	if kind, ok := segment.KindByContent(head[:]); ok {
		return kind, nil
	}
	_, kind, _ := segment.ParseFileName(filepath.Base(d.path))
	switch kind {
	case segment.SegmentFile, segment.HintFile, segment.PartialFile, segment.ManifestFile:
		return kind, nil
	}
	return 0, fmt.Errorf("%w: %s is not a segment, hint or manifest, judging by its first bytes and its name", errUsage, d.path)
}

func (d *dumper) dumpSegment() error {
	header, err := segment.ReadHeader(d.file, d.size)
	at := header.Size()
	switch {
	case err == nil:
		kind := "log"
		if header.Kind == segment.Merged {
			kind = "merged"
		}
		note := fmt.Sprintf("%s, salt %016x", kind, header.Salt)
		for _, id := range header.Replaces {
			note += ", replaces " + segment.FileName(id)
		}
		if err := d.print(part{What: "segment", File: segment.FileName(header.ID), Size: d.size, Note: note}); err != nil {
			return err
		}
	case errors.Is(err, segment.ErrHeader) || errors.Is(err, segment.ErrVersion):
		d.damaged(0, err)
		if header.Salt, err = d.listedSalt(); err != nil {
			return err
		}
		at = segment.HeaderSize
	default:
		return err
	}
	if d.salt != nil {
		header.Salt = *d.salt
	}
	var printing error
	print := func(p part) {
		if printing == nil {
			printing = d.print(p)
		}
	}
	err = segment.Scan(d.file, header.Salt, at, d.size, func(e segment.Entry) {
		print(d.record(e))
	}, func(bad segment.Damage) {
		p := part{What: "unreadable", Offset: bad.Offset, Size: bad.Length, Note: "no valid record is here"}
		if d.isUnused(bad) {
			p.What, p.Note = "unused", "zeros up to the end of the file"
		} else {
			d.damaged(bad.Offset, errors.New(p.Note))
		}
		print(p)
	})
	return errors.Join(err, printing)
}

// record describes a record.
func (d *dumper) record(e segment.Entry) part {
	p := part{What: "value", Offset: e.Offset, Size: e.Size, Seq: e.Seq, Value: &e.ValueSize}
	d.setKey(&p, e.Key)
	var notes []string
	if e.Flags&segment.Tombstone != 0 {
		p.What, p.Value = "tombstone", nil
	}
	if e.Flags&segment.Expires != 0 {
		p.Expires = e.Expiry
	}
	if !e.ValueOK {
		p.BadValue = true
		notes = append(notes, "the value does not match its checksum")
		d.damaged(e.Offset, errors.New(notes[0]))
	}
	if e.Flags&segment.BatchGoesOn != 0 {
		notes = append(notes, "the batch continues")
	}
	if e.Flags&segment.HasWatermark != 0 {
		notes = append(notes, fmt.Sprintf("synced up to #%d", e.Watermark))
	}
	if e.Flags&segment.HasPrevious != 0 {
		notes = append(notes, fmt.Sprintf("the previous file ends at %d with #%d", e.Previous.Offset, e.Previous.Seq))
	}
	p.Note = strings.Join(notes, ", ")
	return p
}

// isUnused reports whether a range is preallocated space: zeros up to the file's end.
func (d *dumper) isUnused(bad segment.Damage) bool {
	if bad.Offset+bad.Length != d.size {
		return false
	}
	rest := bufio.NewReader(io.NewSectionReader(d.file, bad.Offset, bad.Length))
	for {
		b, err := rest.ReadByte()
		if err != nil {
			return err == io.EOF
		}
		if b != 0 {
			return false
		}
	}
}

func (d *dumper) dumpManifest() error {
	content, err := d.content(segment.MaxManifestSize)
	if err != nil {
		return err
	}
	m, kept, err := segment.InspectManifest(content)
	if err != nil {
		d.damaged(0, err)
		return nil
	}
	for _, bad := range kept.Damages {
		d.damaged(bad.Offset, fmt.Errorf("one of the two copies: %s", bad.Reason))
		if err := d.print(part{What: "unreadable", Offset: bad.Offset, Size: bad.Size, Note: "one of the two copies"}); err != nil {
			return err
		}
	}
	state := "not closed"
	if m.Clean {
		state = "closed cleanly"
	}
	note := fmt.Sprintf("%s, edit %d, %d edits appended, next file %s, numbers assigned up to #%d, synced up to #%d, sealed up to #%d",
		state, m.Edit, kept.Edits, segment.FileName(m.NextID), m.LastSeq, m.Watermark, m.SealedSeq)
	if err := d.print(part{What: "manifest", Size: d.size, Note: note}); err != nil {
		return err
	}
	for i, info := range m.Segments {
		p := part{What: "segment", File: segment.FileName(info.ID), Note: fmt.Sprintf("salt %016x", info.Salt)}
		if info.Kind == segment.Merged {
			p.Note += ", merged"
		}
		switch {
		case info.Sealed:
			p.Note += ", sealed"
		case !m.Clean || i < len(m.Segments)-1:
			p.Note += ", unsealed"
		}
		p.Size, p.Seq = info.End.Offset, info.End.Seq
		if err := d.print(p); err != nil {
			return err
		}
	}
	return nil
}

// minHintLimit is how many bytes a hint may always have: its segment may be gone.
const minHintLimit = 256 << 20

// content reads the whole file, unless it is longer than maxSize: a file with holes
// can be longer than any memory.
func (d *dumper) content(maxSize int64) ([]byte, error) {
	if d.size > maxSize {
		d.damaged(0, fmt.Errorf("it has %d bytes, more than the maximum of %d", d.size, maxSize))
		return nil, nil
	}
	return io.ReadAll(io.NewSectionReader(d.file, 0, d.size))
}

// segmentOf returns the salt of a hint, from its segment or else from listedSalt, and
// the size of the segment, 0 if there is none.
func (d *dumper) segmentOf(id segment.ID) (salt uint64, size int64, err error) {
	path := filepath.Join(filepath.Dir(d.path), segment.FileName(id))
	if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
		f, err := os.Open(path)
		if err != nil {
			return 0, 0, err
		}
		defer f.Close()
		size = min(info.Size(), segment.MaxFileSize)
		if header, err := segment.ReadHeader(f, size); err == nil && d.salt == nil {
			return header.Salt, size, nil
		}
	}
	salt, err = d.listedSalt()
	return salt, size, err
}

// listedSalt returns the file's salt: --salt, or what the manifest beside it lists.
func (d *dumper) listedSalt() (uint64, error) {
	if d.salt != nil {
		return *d.salt, nil
	}
	id, _, _ := segment.ParseFileName(filepath.Base(d.path))
	m, err := manifestBeside(d.path)
	if err == nil {
		for _, info := range m.Segments {
			if info.ID == id {
				return info.Salt, nil
			}
		}
		err = errors.New("the manifest does not list it")
	}
	return 0, fmt.Errorf("%w: cannot find the salt of %s; give it with --salt: %w", errUsage, d.path, err)
}

func manifestBeside(path string) (*segment.Manifest, error) {
	path = filepath.Join(filepath.Dir(path), segment.ManifestName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > segment.MaxManifestSize {
		return nil, fmt.Errorf("%s is not a manifest", path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return segment.ParseManifest(content)
}

// setKey encodes the key as the flags say, in JSON as export does.
func (d *dumper) setKey(p *part, key []byte) {
	if d.json {
		l := keyLine(key)
		p.Key, p.Key64 = l.Key, l.Key64
		return
	}
	text := strconv.Quote(string(key))
	if d.hex || d.base64 {
		text = string(d.encode(key))
	}
	p.Key = &text
}

// damaged remembers the first thing that does not validate.
func (d *dumper) damaged(offset int64, err error) {
	if d.bad == nil {
		d.bad = &mmapkv.CorruptError{File: d.path, Offset: offset, Reason: err.Error()}
	}
}

func (d *dumper) print(p part) error {
	if d.json {
		return printJSON(d.out, p)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%10d %10d  %-10s", p.Offset, p.Size, p.What)
	if p.File != "" {
		fmt.Fprintf(&text, "  %s", p.File)
	}
	if p.Seq != 0 {
		fmt.Fprintf(&text, "  #%d", p.Seq)
	}
	if p.Key != nil {
		fmt.Fprintf(&text, "  %s", *p.Key)
	}
	if p.Value != nil {
		fmt.Fprintf(&text, "  %d B", *p.Value)
	}
	if p.Expires != 0 {
		fmt.Fprintf(&text, "  expires %s", time.UnixMilli(p.Expires).UTC().Format(time.RFC3339Nano))
	}
	if p.Note != "" {
		fmt.Fprintf(&text, "  %s", p.Note)
	}
	_, err := fmt.Fprintln(d.out, text.String())
	return err
}
