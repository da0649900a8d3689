package mmapkv

import "github.com/mmapkv/mmapkv/internal/bulk"

// The methods here read the pair that an Iterator of a transaction stands at.

// Key is Iterator.Key.
func (m *merged) Key() []byte {
	switch {
	case m.place != atPair:
		return nil
	case m.onOwn:
		key := m.own[m.at].key
		return key[:len(key):len(key)]
	}
	return m.base.Key()
}

// present returns why there is no pair to be read, nil if there is one.
func (m *merged) present() error {
	if err := m.ended(); err != nil {
		m.fail(err)
		return err
	}
	if m.place != atPair {
		return errNoPair
	}
	return nil
}

// Value is Iterator.Value, of an Iterator that shows values.
func (m *merged) Value() ([]byte, error) {
	if err := m.present(); err != nil {
		return nil, err
	}
	if m.onOwn {
		m.value = bulk.Append(m.value[:0], m.own[m.at].value)
		return m.value[:len(m.value):len(m.value)], nil
	}
	value, err := m.base.Value()
	m.noteBase()
	return value, err
}

// View is Iterator.View, of an Iterator that shows values.
func (m *merged) View(fn func(value []byte) error) error {
	if err := m.present(); err != nil {
		return err
	}
	if m.onOwn {
		return show(m.own[m.at].value, fn)
	}
	defer m.noteBase()
	return m.base.View(fn)
}

// ValueSize is Iterator.ValueSize.
func (m *merged) ValueSize() int64 {
	if m.present() != nil {
		return 0
	}
	if m.onOwn {
		return int64(len(m.own[m.at].value))
	}
	defer m.noteBase()
	return m.base.ValueSize()
}

// noteBase notes an error that reading the snapshot's pair has met.
func (m *merged) noteBase() {
	if err := m.base.Err(); err != nil && m.err == nil {
		m.err = err
		m.tx.fail(err)
	}
}
