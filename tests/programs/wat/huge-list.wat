;; Names five million refs at once, all of them the first.
(func $deed (param $verdicts i32)
  (drop (memory.grow (i32.const 512)))
  (call $recheck (local.get $verdicts) (i32.const 65536) (i32.const 5000000)))
