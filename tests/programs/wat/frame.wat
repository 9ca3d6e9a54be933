;; A push filter around one deed, which a test puts where it says so. The deed is done at the first look; the second
;; look keeps everything.
(module
  (import "refgate:filter/batches@0.1.1" "[method]ref-batch.attempt" (func $attempt (param i32) (result i32)))
  (import "refgate:filter/batches@0.1.1" "[method]verdicts.recheck" (func $recheck (param i32 i32 i32)))
  (import "refgate:filter/batches@0.1.1" "[resource-drop]ref-batch" (func $drop-batch (param i32)))
  (import "refgate:filter/batches@0.1.1" "[resource-drop]verdicts" (func $drop-verdicts (param i32)))
  (memory (export "memory") 2)
  ;; All that is ever allocated is the text of the settings, which nobody reads.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  ;; Results stand at 16: a zero is `ok`, a one is an error with pointer and length.
  (func (export "refgate:filter/lifecycle@0.1.1#configure") (param i32 i32) (result i32) (i32.const 16))
  (func (export "refgate:filter/push@0.1.1#filter") (param $batch i32) (param $verdicts i32) (result i32)
    (if (i32.eqz (call $attempt (local.get $batch)))
      (then (call $deed (local.get $verdicts))))
    (call $drop-batch (local.get $batch))
    (call $drop-verdicts (local.get $verdicts))
    (i32.const 16))
  ;; DEED
)
