package check

import "testing"

func TestReportIsBounded(t *testing.T) {
	var f findings
	for range maxDamages + 5 {
		f.damage(Damage{})
		f.remark("", "")
	}
	if len(f.damages) != maxDamages || f.omitted != 5 || len(f.remarks) != maxDamages {
		t.Errorf("%d damages, %d omitted, %d remarks", len(f.damages), f.omitted, len(f.remarks))
	}
	f = findings{}
	for range 1000 {
		f.damage(Damage{Key: make([]byte, 65_535)})
	}
	if f.keyBytes > maxKeyBytes || len(f.damages)+f.omitted != 1000 {
		t.Errorf("%d damages with %d bytes of keys, %d omitted", len(f.damages), f.keyBytes, f.omitted)
	}
}
