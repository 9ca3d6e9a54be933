;; Names refs in a list that ends outside of its memory.
(func $deed (param $verdicts i32)
  (call $recheck (local.get $verdicts) (i32.const 65536) (i32.const 0x0fffffff)))
