package rig

import (
	"errors"
	"flag"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// Profiles are the files, named by flags, to which profiles of a run are written.
type Profiles struct {
	cpu, heap, mutex, block, trace string
	open                           []*os.File
	started                        bool
}

// The sampling rates of the mutex and block profiles: one of every mutexFraction
// contentions, and one sample for every blockRate nanoseconds spent blocked.
const (
	mutexFraction = 10
	blockRate     = 10_000
)

// Define adds the flags.
func (p *Profiles) Define(flags *flag.FlagSet) {
	flags.StringVar(&p.cpu, "cpuprofile", "", "write a CPU profile to this `file`")
	flags.StringVar(&p.heap, "memprofile", "", "write a heap profile to this `file`, while the last store is open")
	flags.StringVar(&p.mutex, "mutexprofile", "", "write a profile of contended mutexes to this `file`")
	flags.StringVar(&p.block, "blockprofile", "", "write a profile of what goroutines wait for to this `file`")
	flags.StringVar(&p.trace, "trace", "", "write an execution trace to this `file`")
}

// Start begins the profiles that the flags ask for; a second call does nothing.
func (p *Profiles) Start() error {
	if p.started {
		return nil
	}
	p.started = true
	if p.mutex != "" {
		runtime.SetMutexProfileFraction(mutexFraction)
	}
	if p.block != "" {
		runtime.SetBlockProfileRate(blockRate)
	}
	return errors.Join(p.begin(p.cpu, func(f *os.File) error { return pprof.StartCPUProfile(f) }),
		p.begin(p.trace, func(f *os.File) error { return trace.Start(f) }))
}

func (p *Profiles) begin(name string, start func(f *os.File) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	p.open = append(p.open, f)
	return start(f)
}

// Heap writes the current heap profile over that of an earlier call.
func (p *Profiles) Heap() error {
	if p.heap == "" {
		return nil
	}
	runtime.GC() // the profile shows the state at the last collection
	return write(p.heap, "heap")
}

// Stop ends the other profiles and writes them.
func (p *Profiles) Stop() (err error) {
	if p.cpu != "" {
		pprof.StopCPUProfile()
	}
	if p.trace != "" {
		trace.Stop()
	}
	for _, f := range p.open {
		err = errors.Join(err, f.Close())
	}
	if p.mutex != "" {
		err = errors.Join(err, write(p.mutex, "mutex"))
	}
	if p.block != "" {
		err = errors.Join(err, write(p.block, "block"))
	}
	return err
}

func write(name, profile string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return pprof.Lookup(profile).WriteTo(f, 0)
}
