package mmapkv

import (
	"fmt"
	"os"
	"path/filepath"
)

// Root returns the directory below which OpenNamespace keeps its stores: $MMAPKV_DIR, else
// $WALRUS_KV_DIR, else "wal_kv" in the working directory.
func Root() string {
	for _, variable := range []string{"MMAPKV_DIR", "WALRUS_KV_DIR"} {
		if dir := os.Getenv(variable); dir != "" {
			return dir
		}
	}
	return "wal_kv"
}

// OpenNamespace opens the store in the directory Root()/name. A name has 1 to 255 bytes, is not
// "." or "..", and contains no "/", "\" or control character. For any other name OpenNamespace
// returns ErrNamespace and touches nothing.
func OpenNamespace(name string, o *Options) (*Store, error) {
	if err := checkNamespace(name); err != nil {
		return nil, err
	}
	return Open(filepath.Join(Root(), name), o)
}

func checkNamespace(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", ErrNamespace)
	case len(name) > 255:
		return fmt.Errorf("%w: the name has %d bytes, the limit is 255", ErrNamespace, len(name))
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q is not a name", ErrNamespace, name)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c == '/' || c == '\\' || c < 0x20 || c == 0x7f {
			return fmt.Errorf("%w: %q has the character %q", ErrNamespace, name, rune(c))
		}
	}
	return nil
}
