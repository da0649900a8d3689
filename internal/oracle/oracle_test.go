package oracle

import "testing"

func put(key, value string) []Op { return []Op{{Key: key, Value: value}} }

// TestOracleTellsViolations breaks every promise and checks that the oracle notices.
func TestOracleTellsViolations(t *testing.T) {
	make2 := func() *Oracle {
		o := New(State{"base": {Bytes: "0"}})
		o.Begin(put("a", "1"))
		o.Acknowledge()
		o.Synced()
		o.Begin([]Op{{Key: "b", Value: "2"}, {Key: "base", Delete: true}})
		o.Acknowledge()
		o.Begin(put("c", "3"))
		return o
	}
	type content = map[string]string
	for name, c := range map[string]struct {
		shown       content
		kill, power bool
	}{
		"all acknowledged":      {content{"a": "1", "b": "2"}, true, true},
		"with the one in doubt": {content{"a": "1", "b": "2", "c": "3"}, true, true},
		"only what was synced":  {content{"base": "0", "a": "1"}, false, true},
		"less than was synced":  {content{"base": "0"}, false, false},
		"half a batch":          {content{"base": "0", "a": "1", "b": "2"}, false, false},
		"a gap":                 {content{"base": "0", "a": "1", "c": "3"}, false, false},
		"an old value":          {content{"a": "0", "b": "2"}, false, false},
		"a value from nowhere":  {content{"a": "1", "b": "2", "x": "y"}, false, false},
	} {
		if _, err := make2().CheckKill(c.shown, 0); (err == nil) != c.kill {
			t.Errorf("%s after a kill: %v", name, err)
		}
		if _, err := make2().CheckPowerLoss(c.shown, 0); (err == nil) != c.power {
			t.Errorf("%s after a power loss: %v", name, err)
		}
	}
	o := make2()
	o.Refuse()
	if _, err := o.CheckKill(content{"a": "1", "b": "2", "c": "3"}, 0); err == nil {
		t.Error("the oracle accepts a refused write")
	}
	if _, err := make2().CheckKill(content{"a": "1", "b": "2"}, 0); err != nil {
		t.Error(err)
	}
}

func TestExpiredValuesAreNotVisible(t *testing.T) {
	o := New(State{"a": {Bytes: "old"}})
	o.Begin([]Op{{Key: "a", Value: "new", Expiry: 100}})
	o.Acknowledge()
	if _, err := o.CheckKill(map[string]string{"a": "new"}, 99); err != nil {
		t.Error(err)
	}
	if _, err := o.CheckKill(map[string]string{}, 100); err != nil {
		t.Error(err)
	}
	if _, err := o.CheckKill(map[string]string{"a": "old"}, 100); err == nil {
		t.Error("the oracle accepts the older value under an expired one")
	}
}

func TestExpectationsDifferWhereMoreMayBeShown(t *testing.T) {
	expect := func(powerLost bool, steps func(*Oracle)) uint64 {
		o := New(State{"base": {Bytes: "1"}})
		o.Begin(put("a", "1"))
		o.Acknowledge()
		steps(o)
		return o.Expectation(powerLost)
	}
	synced := expect(true, (*Oracle).Synced)
	for what, other := range map[string]uint64{
		"not synced":     expect(true, func(*Oracle) {}),
		"synced, killed": expect(false, (*Oracle).Synced),
		"base synced":    expect(true, func(o *Oracle) { o.Synced(); o.Begin(put("base", "1")); o.Refuse() }),
	} {
		if (other == synced) != (what != "not synced") {
			t.Errorf("%s: expectations equal: %v", what, other == synced)
		}
	}
	doubt := expect(true, func(o *Oracle) { o.Synced(); o.Begin(put("b", "1")) })
	if doubt == synced {
		t.Error("a write in doubt makes no difference")
	}
}
