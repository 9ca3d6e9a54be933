;; Grows its table until it gets no more.
(table $table 1 funcref)
(func $deed (param $verdicts i32)
  (loop $more
    (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
  (unreachable))
