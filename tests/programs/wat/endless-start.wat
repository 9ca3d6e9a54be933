;; Has a start function without an end.
(func $deed (param $verdicts i32))
(func $spin (loop $again (br $again)))
(start $spin)
