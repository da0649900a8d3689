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
		Short: "Print the bytes of segments, hints and manifests as a person reads them",
		Long: `Prints every record of a segment, every entry of a hint, or what a manifest lists,
with offsets. It opens no store and changes nothing. What a file is follows from
how it begins, or else from its name.

The checksums of a segment and of its hint depend on a random number, the salt,
in the segment's header and in the manifest. A segment whose header is damaged
takes it from the MANIFEST beside it, a hint from its segment or from there, and
either from --salt. The exit code is 4 when something does not validate; that is
no damage at the end of a file that was being written, when there was a crash.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := dumper{target: t, out: bufio.NewWriter(cmd.OutOrStdout())}
			if salt != "" {
				n, err := strconv.ParseUint(strings.TrimPrefix(salt, "0x"), 16, 64)
				if err != nil {
					return fmt.Errorf("%w: --salt takes 16 hexadecimal digits, and not %q", errUsage, salt)
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
	salt *uint64 // for all files; nil: each has its own

	path string
	file *os.File
	size int64
	bad  error // the first thing in the file that does not validate
}

// part is one line of what is printed: a header, a record, an entry, a listed
// segment, or a range that does not validate. In text only what is set is shown.
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
	info, err := os.Stat(path) // a pipe would keep who opens it waiting
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is no regular file", errUsage, path)
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
	case segment.ManifestFile:
		err = d.dumpManifest()
	}
	return errors.Join(err, d.bad)
}

// kind is what the file is.
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
	case segment.SegmentFile, segment.HintFile, segment.ManifestFile:
		return kind, nil
	}
	return 0, fmt.Errorf("%w: %s is no segment, hint or manifest, neither by its beginning nor by its name", errUsage, d.path)
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
			note += ", in place of " + segment.FileName(id)
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

// record is how a record is printed.
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
		notes = append(notes, "the batch goes on")
	}
	if e.Flags&segment.HasWatermark != 0 {
		notes = append(notes, fmt.Sprintf("synced up to %d", e.Watermark))
	}
	if e.Flags&segment.HasPrevious != 0 {
		notes = append(notes, fmt.Sprintf("the file before ends at %d with %d", e.Previous.Offset, e.Previous.Seq))
	}
	p.Note = strings.Join(notes, ", ")
	return p
}

// isUnused says whether a range is room that was taken ahead: zeros, at the end.
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

func (d *dumper) dumpHint() error {
	id, _, ok := segment.ParseFileName(filepath.Base(d.path))
	if !ok {
		return fmt.Errorf("%w: the name of %s does not say of which segment it is the hint", errUsage, d.path)
	}
	salt, covered, err := d.segmentOf(id)
	if err != nil {
		return err
	}
	content, err := d.content(max(segment.MaxHintSize(covered), leastHint))
	if err != nil {
		return err
	}
	hint, err := segment.ParseHint(content, id, salt)
	if err != nil {
		d.damaged(0, err)
		return nil
	}
	note := fmt.Sprintf("%d keys, covers the first %d bytes, up to %d, of which all up to %d was synced", hint.Len(), hint.Covers.Offset, hint.Covers.Seq, hint.Watermark)
	if err := d.print(part{What: "hint", File: segment.FileName(id), Size: d.size, Note: note}); err != nil {
		return err
	}
	for e := range hint.Entries {
		p := part{What: "value", Offset: e.Offset, Size: e.Size, Seq: e.Seq, Expires: e.Expiry}
		if e.Flags&segment.Tombstone != 0 {
			p.What = "tombstone"
		}
		d.setKey(&p, e.Key)
		if err := d.print(p); err != nil {
			return err
		}
	}
	for _, bad := range hint.Damages() {
		if err := d.print(part{What: "unreadable", Offset: bad.Offset, Size: bad.Length, Note: "in the segment"}); err != nil {
			return err
		}
	}
	return nil
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
	note := fmt.Sprintf("%s, edit %d, %d of them appended, next file %s, numbers given up to %d, synced up to %d, sealed up to %d",
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

// leastHint is what a hint may have in any case, in bytes: its segment can be gone.
const leastHint = 256 << 20

// content reads the whole file, of at most so many bytes: it may have holes, and
// claim more than any memory has.
func (d *dumper) content(most int64) ([]byte, error) {
	if d.size > most {
		d.damaged(0, fmt.Errorf("it has %d bytes, and never more than %d", d.size, most))
		return nil, nil
	}
	return io.ReadAll(io.NewSectionReader(d.file, 0, d.size))
}

// segmentOf finds the salt of a hint, that of its segment or as it is listed, and
// how long the segment is, 0 without one.
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

// listedSalt is the salt that the manifest beside the file has for it.
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
	return 0, fmt.Errorf("%w: the salt of %s is not to be found; --salt takes it: %w", errUsage, d.path, err)
}

func manifestBeside(path string) (*segment.Manifest, error) {
	path = filepath.Join(filepath.Dir(path), segment.ManifestName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > segment.MaxManifestSize {
		return nil, fmt.Errorf("%s is no manifest", path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return segment.ParseManifest(content)
}

// setKey writes the key down as the flags want it, in JSON as export does.
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

// damaged notes what does not validate.
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
