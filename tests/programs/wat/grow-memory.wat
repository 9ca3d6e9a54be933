;; Grows its memory until it gets no more.
(func $deed (param $verdicts i32)
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  (unreachable))
