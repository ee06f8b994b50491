;; Whether a text is UTF-8, 16 bytes at a time: the lookup algorithm of John
;; Keiser and Daniel Lemire, "Validating UTF-8 In Less Than One Instruction Per
;; Byte" (2021, https://arxiv.org/abs/2010.03090).
;;
;; Three tables, looked up by the first and the second half of a byte and by the
;; first half of the next byte, each name the faults that are still possible.
;; What all three name is wrong with the two bytes:
;;
;;   01  too short: a first byte, and then no continuation
;;   02  too long: ASCII, and then a continuation
;;   04  an overlong form of three bytes: E0 80 to E0 9F
;;   08  beyond U+10FFFF: F4 90 and above
;;   10  a surrogate: ED A0 to ED BF
;;   20  an overlong form of two bytes: C0, C1
;;   40  an overlong form of four bytes, F0 80 to F0 8F, or F5 and above
;;   80  two continuations: right behind the first two of three bytes, and wrong
;;       anywhere else; so this one is compared, and not just looked for
;;
;; `deno task wasm` compiles this file into _utf8_wasm.ts.
(module
  ;; One page: 64 bytes that stay zero, the text, and room for zeros behind it.
  (memory (export "memory") 1 1)

  ;; Whether the `length` bytes from address 64 on are UTF-8 by themselves: 1 or
  ;; 0. At most 65,392; up to 80 bytes behind them are overwritten.
  (func (export "isUtf8") (param $length i32) (result i32)
    (local $at i32)
    (local $blockEnd i32)
    (local $end i32)
    (local $bytes v128)
    (local $before v128)
    (local $faults v128)
    ;; V8 keeps constants in registers only where they are locals: 9 us instead
    ;; of 22 for 64 KiB of Chinese and ASCII.
    (local $byFirstHalf v128)
    (local $bySecondHalf v128)
    (local $byNextHalf v128)
    (local $half v128)
    (local $high v128)
    (local $upToThree v128)
    (local $upToFour v128)
    (local.set $byFirstHalf (v128.const i8x16
      0x02 0x02 0x02 0x02 0x02 0x02 0x02 0x02 ;; 0 to 7: ASCII
      0x80 0x80 0x80 0x80                     ;; 8 to B: continuations
      0x21 0x01                               ;; C, D: first of two
      0x15                                    ;; E: first of three
      0x49))                                  ;; F: first of four
    (local.set $bySecondHalf (v128.const i8x16
      0xe7                                    ;; 0: C0, E0, F0
      0xa3                                    ;; 1: C1
      0x83 0x83                               ;; 2, 3
      0x8b                                    ;; 4: F4
      0xcb 0xcb 0xcb 0xcb 0xcb 0xcb 0xcb 0xcb ;; 5 to C: F5 to FC
      0xdb                                    ;; D: ED, FD
      0xcb 0xcb))                             ;; E, F: FE, FF
    (local.set $byNextHalf (v128.const i8x16
      0x01 0x01 0x01 0x01 0x01 0x01 0x01 0x01 ;; 0 to 7: ASCII
      0xe6                                    ;; 8
      0xae                                    ;; 9
      0xba 0xba                               ;; A, B
      0x01 0x01 0x01 0x01))                   ;; C to F: a first byte
    (local.set $half (i8x16.splat (i32.const 0x0f)))
    (local.set $high (i8x16.splat (i32.const 0x80)))
    ;; What takes E0 and above to 80 and above, and the same for F0
    (local.set $upToThree (i8x16.splat (i32.const 0x60)))
    (local.set $upToFour (i8x16.splat (i32.const 0x70)))

    ;; The text goes on with zeros, which a cut sequence is too short before.
    (local.set $end (i32.add (local.get $length) (i32.const 64)))
    (v128.store offset=0 (local.get $end) (v128.const i64x2 0 0))
    (v128.store offset=16 (local.get $end) (v128.const i64x2 0 0))
    (v128.store offset=32 (local.get $end) (v128.const i64x2 0 0))
    (v128.store offset=48 (local.get $end) (v128.const i64x2 0 0))
    (v128.store offset=64 (local.get $end) (v128.const i64x2 0 0))
    (local.set $end (i32.add (local.get $end) (i32.const 3)))

    (local.set $at (i32.const 64))
    (loop $blocks
      (local.set $blockEnd (i32.add (local.get $at) (i32.const 64)))
      ;; 64 bytes of ASCII, and ASCII before them, need no further look.
      (if
        (i8x16.bitmask
          (v128.or
            (v128.load (i32.sub (local.get $at) (i32.const 16)))
            (v128.or
              (v128.or
                (v128.load offset=0 (local.get $at))
                (v128.load offset=16 (local.get $at)))
              (v128.or
                (v128.load offset=32 (local.get $at))
                (v128.load offset=48 (local.get $at))))))
        (then
          (loop $block
            (local.set $bytes (v128.load (local.get $at)))
            (local.set $before
              (v128.load (i32.sub (local.get $at) (i32.const 1))))
            (local.set $faults (v128.or
              (local.get $faults)
              (v128.xor
                ;; 80 where two or three bytes before a longer sequence begins
                (v128.and
                  (v128.or
                    (i8x16.sub_sat_u
                      (v128.load (i32.sub (local.get $at) (i32.const 2)))
                      (local.get $upToThree))
                    (i8x16.sub_sat_u
                      (v128.load (i32.sub (local.get $at) (i32.const 3)))
                      (local.get $upToFour)))
                  (local.get $high))
                (v128.and
                  (v128.and
                    (i8x16.swizzle
                      (local.get $byFirstHalf)
                      (v128.and
                        (i16x8.shr_u (local.get $before) (i32.const 4))
                        (local.get $half)))
                    (i8x16.swizzle
                      (local.get $bySecondHalf)
                      (v128.and (local.get $before) (local.get $half))))
                  (i8x16.swizzle
                    (local.get $byNextHalf)
                    (v128.and
                      (i16x8.shr_u (local.get $bytes) (i32.const 4))
                      (local.get $half)))))))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (br_if $block (i32.lt_u (local.get $at) (local.get $blockEnd))))))
      (local.set $at (local.get $blockEnd))
      (br_if $blocks (i32.lt_u (local.get $at) (local.get $end))))
    (i32.eqz (v128.any_true (local.get $faults)))))
