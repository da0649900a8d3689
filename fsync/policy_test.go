package fsync

import (
	"testing"
	"time"
)

func TestPolicyReadsWhatItPrints(t *testing.T) {
	for _, test := range []struct {
		policy   Policy
		text     string
		interval time.Duration
	}{
		{Policy{}, "every 200ms", 200 * time.Millisecond},
		{Every(200 * time.Millisecond), "every 200ms", 200 * time.Millisecond},
		{Every(1), "every 1ns", 1},
		{Every(time.Minute), "every 1m0s", time.Minute},
		{Every(1<<63 - 1), "every 2562047h47m16.854775807s", 1<<63 - 1},
		{Always, "always", 0},
		{Every(0), "always", 0},
		{Every(-time.Second), "always", 0},
		{Never, "never", 0},
	} {
		if got := test.policy.String(); got != test.text {
			t.Errorf("%#v prints %q, want %q", test.policy, got, test.text)
		}
		if got := test.policy.Interval(); got != test.interval {
			t.Errorf("the interval of %v is %v, want %v", test.policy, got, test.interval)
		}
		if got, err := ParsePolicy(test.text); err != nil || got != test.policy {
			t.Errorf("ParsePolicy(%q) = %v, %v", test.text, got, err)
		}
	}
}

func TestPolicyParsesShortForms(t *testing.T) {
	for text, want := range map[string]Policy{"200ms": {}, "5s": Every(5 * time.Second), "0": Always, "0s": Always} {
		if got, err := ParsePolicy(text); err != nil || got != want {
			t.Errorf("ParsePolicy(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "every", "every ", "200", "sometimes", "-1s", "every always", "Always"} {
		if got, err := ParsePolicy(text); err == nil {
			t.Errorf("ParsePolicy(%q) = %v, want an error", text, got)
		}
	}
}
