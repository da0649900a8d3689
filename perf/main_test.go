package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmapkv/mmapkv/mmapkv"
	"github.com/mmapkv/mmapkv/perf/workload"
)

func TestMain(m *testing.M) {
	workload.Child(engines(mmapkv.Options{}))
	os.Exit(m.Run())
}

func TestPerfReports(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	arguments := []string{
		"-keys", "1000", "-value", "16,300", "-rounds", "1", "-rest", "0", "-operations", "500", "-rate", "2000", "-phase", "10ms", "-segment", "256KiB",
		"-durable", "1,2", "-goroutines", "1", "-engines", "mmapkv,mmapkv Always,Go map", "-dir", dir, "-run", "load,view,many,keys,range,scan,scan-reverse,iterate,seek*,ycsb-e,put,durable,read-latency,put-latency,compaction,scan-compacted,open*,loading,prefix,swath,order", "-swath", "1000",
	}
	for _, name := range []string{"html", "cpuprofile", "memprofile", "mutexprofile", "blockprofile", "trace"} {
		files[name] = filepath.Join(dir, name)
		arguments = append(arguments, "-"+name, files[name])
	}
	var out strings.Builder
	if err := run(t.Context(), arguments, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, part := range []string{"view 16B", "view 300B", "read-latency 300B/writer+compaction", "open-killed 16B", "copy of the segments", "floor", "Go map", "scan-reverse 16B", "seek 300B/50", "swath 16B/later"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the table lacks %q:\n%s", part, &out)
		}
	}
	for name, path := range files {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	page, err := os.ReadFile(files["html"])
	if err != nil || strings.Count(string(page), "<svg") < 20 {
		t.Errorf("the page has %d pictures, %v", strings.Count(string(page), "<svg"), err)
	}
}

func TestPerfRefusesNonsense(t *testing.T) {
	for _, arguments := range [][]string{
		{"-keys", "0"}, {"-value", "3"}, {"-value", "x"}, {"-rate", "0"}, {"-rounds", "0"}, {"-run", "none"}, {"-engines", "none"}, {"-goroutines", "0"},
	} {
		if err := run(t.Context(), arguments, new(strings.Builder)); err == nil {
			t.Errorf("%q is accepted", arguments)
		}
	}
}

func TestPerfListsWorkloads(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-list"}, &out); err != nil || !strings.Contains(out.String(), "ycsb-a") {
		t.Errorf("%v\n%s", err, &out)
	}
}
