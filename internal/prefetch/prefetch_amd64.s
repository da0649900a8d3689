#include "textflag.h"

// func Line(p unsafe.Pointer)
TEXT ·Line(SB), NOSPLIT, $0-8
	MOVQ p+0(FP), AX
	PREFETCHT0 (AX)
	RET

// func Lines(ps []unsafe.Pointer)
TEXT ·Lines(SB), NOSPLIT, $0-24
	MOVQ ps_base+0(FP), AX
	MOVQ ps_len+8(FP), CX
	LEAQ (AX)(CX*8), CX
	JMP  more
next:
	MOVQ (AX), DX
	PREFETCHT0 (DX)
	ADDQ $8, AX
more:
	CMPQ AX, CX
	JCS  next
	RET
