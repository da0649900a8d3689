#include "textflag.h"

// func Line(p unsafe.Pointer)
TEXT ·Line(SB), NOSPLIT, $0-8
	MOVD p+0(FP), R0
	PRFM (R0), PLDL1KEEP
	RET

// func Lines(ps []unsafe.Pointer)
TEXT ·Lines(SB), NOSPLIT, $0-24
	MOVD ps_base+0(FP), R0
	MOVD ps_len+8(FP), R1
	ADD  R1<<3, R0, R1
	B    more
next:
	MOVD.P 8(R0), R2
	PRFM (R2), PLDL1KEEP
more:
	CMP  R1, R0
	BLO  next
	RET
