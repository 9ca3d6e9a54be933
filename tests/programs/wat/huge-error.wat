;; Reports an error of 20 MiB.
(func $deed (param $verdicts i32)
  (drop (memory.grow (i32.const 512)))
  (i32.store (i32.const 16) (i32.const 1))
  (i32.store (i32.const 20) (i32.const 65536))
  (i32.store (i32.const 24) (i32.const 20971520)))
