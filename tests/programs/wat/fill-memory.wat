;; Fills the whole of its memory, again and again: a step that is not interrupted on its way.
(func $deed (param $verdicts i32)
  (drop (memory.grow (i32.const 512)))
  (loop $again
    (memory.fill (i32.const 0) (i32.const 255) (i32.shl (memory.size) (i32.const 16)))
    (br $again)))
