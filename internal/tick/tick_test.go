package tick

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachIsCalledOnceAnInterval(t *testing.T) {
	for _, functions := range []int{1, 2, moments, 4*moments + 3} {
		t.Run(fmt.Sprint(functions), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(time.Second)
				last := make([]time.Time, functions)
				calls := make([]int, functions)
				for i := range functions {
					began := time.Now()
					defer c.Every(func() {
						switch since := time.Since(began); {
						case calls[i] == 0 && since > 2*time.Second:
							t.Errorf("function %d is first called after %v", i, since)
						case calls[i] > 0 && time.Since(last[i]) != time.Second:
							t.Errorf("function %d is called after %v", i, time.Since(last[i]))
						}
						calls[i]++
						last[i] = time.Now()
					})()
				}
				time.Sleep(10*time.Second + time.Millisecond)
				synctest.Wait()
				for i, n := range calls {
					if n < 9 || n > 10 {
						t.Errorf("function %d was called %d times in ten seconds", i, n)
					}
				}
			})
		})
	}
}

// However many functions there are, the clock calls them at few moments, which are spread out.
func TestManyShareFewMoments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(time.Second)
		at := map[time.Time]int{}
		const functions = 4000
		for range functions {
			defer c.Every(func() { at[time.Now()]++ })()
		}
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if len(at) > 5*moments {
			t.Errorf("woken %d times in five seconds", len(at))
		}
		for moment, n := range at {
			if n != functions/moments {
				t.Errorf("%d functions at %v", n, moment)
			}
		}
	})
}

func TestNoneIsCalledBehindItsEnd(t *testing.T) {
	c := New(time.Millisecond)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				var ended atomic.Bool
				end := c.Every(func() {
					if ended.Load() {
						t.Error("called after its end")
					}
					runtime.Gosched()
				})
				time.Sleep(20 * time.Microsecond)
				end()
				ended.Store(true)
				end() // once more does no harm
			}
		})
	}
	group.Wait()
	if c.count != 0 || c.running != nil {
		t.Errorf("%d functions are left", c.count)
	}
}

// The clock does not make up for calls that the process slept through.
func TestNoCallsAreMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(time.Second)
		calls := 0
		defer c.Every(func() {
			if calls++; calls == 1 {
				time.Sleep(time.Minute) // the whole process stands still
			}
		})()
		time.Sleep(65 * time.Second)
		synctest.Wait()
		if calls < 3 || calls > 6 {
			t.Errorf("%d calls in 65 seconds; the process stood still for 60 of them", calls)
		}
	})
}

// The goroutine ends with the last function, and starts again with the next.
func TestGoroutineEndsWithTheLast(t *testing.T) {
	for range 3 {
		before := runtime.NumGoroutine()
		ends := []func(){Every(func() {}), Every(func() {})}
		if now := runtime.NumGoroutine(); now != before+1 {
			t.Errorf("%d goroutines for two functions", now-before)
		}
		for _, end := range ends {
			end()
		}
		// The goroutine has closed its channel, and is about to return.
		for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
			}
		}
	}
}
