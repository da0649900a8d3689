package inject

import "testing"

func TestSeamsReachTheRegisteredPackage(t *testing.T) {
	defer Register(set)
	type options struct{ seams *Seams }
	Register(func(o any, s *Seams) { o.(*options).seams = s })
	var o options
	seams := &Seams{PageSlots: 8}
	Into(&o, seams)
	if o.seams != seams {
		t.Errorf("the options got %v", o.seams)
	}
}
