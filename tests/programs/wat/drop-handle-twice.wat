;; Lets go of a handle that is taken back after the call as well.
(func $deed (param $verdicts i32)
  (call $drop-verdicts (local.get $verdicts)))
