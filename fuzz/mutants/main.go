// Command mutants plants bugs in the engine, one at a time, and runs the tests that must catch
// them. It fails when a mutant survives, no longer applies, or does not compile.
//
//	go run ./fuzz/mutants             all of them
//	go run ./fuzz/mutants -only N     those whose name contains N
//	go run ./fuzz/mutants -sample 20  twenty, drawn at random
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mutant is a search-and-replace pair in one file of the repository.
type mutant struct {
	name, file, search, replace string
}

// plant returns the file's source with the bug in it. The text that it replaces must occur there
// exactly once.
func (m mutant) plant(source string) (string, error) {
	if n := strings.Count(source, m.search); n != 1 {
		return "", fmt.Errorf("it applies %d times to %s", n, m.file)
	}
	return strings.Replace(source, m.search, m.replace, 1), nil
}

// suites lists which tests must catch which mutants.
var suites = []suite{
	{"fuzz", "TestCrashStates", mutants},
	{"fuzz", "TestCrashStates", slices.Concat(replayMutants, openBatchMutants)},
	{"mmapkv/internal/replay", "TestWhatCounts", slices.Concat(replayMutants, openBatchMutants, replayDamageMutants)},
	{"mmapkv/internal/replay", "TestPromises", unreadMutants},
	{"mmapkv", "TestOpenTakesWhatCounts", slices.Concat(replayMutants, openBatchMutants, replayDamageMutants, unreadMutants)},
	{"mmapkv", "TestVerifyTakesWhatCounts", slices.Concat(replayMutants, replayDamageMutants)},
	{"mmapkv", "TestSalvageTakesWhatCounts", slices.Concat(replayMutants, openBatchMutants, replayDamageMutants, unreadMutants)},
	{"fuzz", "TestCompactionCrashStates", compactionMutants},
	{"fuzz", "TestCrashStates", strayMutants},
	{"fuzz", "TestOlderManifests", olderMutants},
	{"mmapkv", "TestLeftovers", leftoverMutants},
	{"fuzz", "TestDamageIsLocalAndReported", damageMutants},
	{"mmapkv", "TestEveryEdit|TestFailedEdit|TestEditOf|TestOpenSettles", editMutants},
	{"segment", "TestManifest|TestLargeManifest|TestMissingEdit|TestTornEdit|TestStaleEdits", manifestMutants},
	{"mmapkv", "TestExpired|TestEmptied", clockMutants},
	{"mmapkv", "TestExpired|TestEachKey|TestSweep|TestSwept|TestCrashBehind", sweepMutants},
	{"mmapkv", "TestPowerLoss|TestDamageBehind|TestNumbers|TestLogGoesOn|TestRecoveryBelieves|TestCompactionEnds", refusedMutants},
	{"mmapkv", "TestKeyThatABatch", revivedMutants},
	{"mmapkv", "TestSyncAndEdit|TestLogGoesOn|TestOpenWithout", lateMutants},
	{"segment", "TestSegment|TestPin|TestRefusedPin", lifetimeMutants},
	{"segment", "TestTable|TestPart|TestCursor|TestSeek|TestHint", tableMutants},
	{"mmapkv", "TestVerifyNames|TestVerifyOfAHint|TestLoadingA|TestSalvageAsks|TestSalvageWhereAHint", tableUseMutants},
	{"mmapkv", "Partial", partialMutants},
	{"segment", "Partial", partialFormatMutants},
	{"mmapkv/internal/replay", "TestKnown", knownMutants},
	{"mmapkv", "WhileTheIndex|TestTailIsSealedBefore|TestNothingIsCompactedBefore", loadingMutants},
	{"mmapkv", "TestReaders|TestReadsLetGo|TestReadBegins|TestWalks?|TestCloseWaits|TestSyncOf|TestRangeBeside", usingMutants},
	{"mmapkv", "TestBounds|TestScan|TestIterator|TestDamageEnds|TestClosedIterator", scanMutants},
	{"mmapkv", "TestBits|TestRange|TestRotten|TestLoadingA|TestLoadingIn|TestExpired", aliveMutants},
	{"mmapkv/internal/alive", "TestNoTwo|TestNext|TestChanges", bitMutants},
	{"mmapkv", "TestRun|TestKept|TestOnly|TestClose|TestRead|TestWatermark", plainMutants},
	{"mmapkv", "TestStateShows|TestDamagedTable|TestStatesHold", orderMutants},
	{"mmapkv", "TestStateShows|TestDamagedTable|TestStateBelow|TestView|TestShortScan", viewMutants},
	{"mmapkv", "TestStatesAround|TestWritesWhileACursor|TestStateOfALoading|TestSweptStretch|TestDeletedWhile|TestViewWithout|TestStatesShare", sieveMutants},
	{"mmapkv", "TestCaptureWaits", captureMutants},
	{"mmapkv/internal/conflict", "Test", conflictMutants},
	{"mmapkv", "TestBank", beginMutants},
	{"mmapkv", "TestTx|TestTransactions|TestUpdate|TestTurn|TestLanes", txMutants},
	{"mmapkv", "TestSnapshot|TestScanOfASnapshot|TestForgottenSnapshot|TestOldSnapshot", snapshotMutants},
	{"mmapkv", "TestStateShows|TestStateBelow|TestFind", findMutants},
	{"mmapkv", "Condition|Verdict|TestSight|TestRefused|TestLargeBatch|TestOneOf|TestPutIf|TestDeleteRange|TestBatchEach", conditionalMutants},
	{"mmapkv", "TestLoggerMayCallTheStore|TestContextMayCallTheStore", userCodeMutants},
}

type suite struct {
	dir, test string
	mutants   []mutant
}

func main() {
	only := flag.String("only", "", "run the mutants whose name contains this")
	sample := flag.Int("sample", 0, "run this many of them, drawn at random; 0: all")
	states := flag.Int("states", 40_000, "crash states for each policy, and half as many damages")
	flag.Parse()
	var chosen []func() (caught bool)
	for _, suite := range suites {
		for _, m := range suite.mutants {
			if strings.Contains(m.name, *only) {
				chosen = append(chosen, func() bool { return suite.catches(m, *states) })
			}
		}
	}
	if *sample > 0 && *sample < len(chosen) {
		rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:*sample]
	}
	survived := 0
	for _, caught := range chosen {
		if !caught() {
			survived++
		}
	}
	fmt.Printf("%d mutants, %d not caught\n", len(chosen), survived)
	if survived > 0 || len(chosen) == 0 {
		os.Exit(1)
	}
}

// catches plants a mutant, and reports whether the test catches it.
func (s suite) catches(m mutant, states int) bool {
	began := time.Now()
	verdict, err := s.try(m, states)
	if verdict == "" && err == nil {
		verdict, err = s.try(m, 4*states) // the first run may have missed it by chance
	}
	switch {
	case err != nil:
		fmt.Printf("BROKEN    %s: %v\n", m.name, err)
		return false
	case verdict == "":
		fmt.Printf("SURVIVED  %s\n", m.name)
		return false
	}
	fmt.Printf("caught    %-60s %5.1fs  %.160s\n", m.name, time.Since(began).Seconds(), verdict)
	return true
}

// try runs the test on the mutant and returns the first complaint, "" if there is none.
func (s suite) try(m mutant, states int) (verdict string, err error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	binary, err := s.build(m, dir)
	if err != nil {
		return "", err
	}
	run := exec.Command(binary, "-test.run", s.test, "-test.failfast", "-test.timeout", "5m")
	if s.dir == "fuzz" {
		run.Args = append(run.Args, fmt.Sprint("-crash.states=", states), fmt.Sprint("-rot.mutations=", states/2))
	}
	run.Dir = s.dir
	out, err := run.CombinedOutput()
	if err == nil {
		return "", nil
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") && !strings.Contains(line, "to replay") || strings.Contains(line, "panic:") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("the tests failed without a complaint: %w\n%s", err, out)
}

// build compiles the tests with the mutant in place of the real file.
func (s suite) build(m mutant, dir string) (binary string, err error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	planted, err := m.plant(string(source))
	if err != nil {
		return "", err
	}
	mutated := filepath.Join(dir, "mutated.go")
	if err := os.WriteFile(mutated, []byte(planted), 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return "", err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "fuzz.test")
	out, err := exec.Command("go", "test", "-c", "-overlay", overlayFile, "-o", binary, "./"+s.dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("it does not compile: %s", out)
	}
	return binary, nil
}
