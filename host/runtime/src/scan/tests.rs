//! Every bound is reached by a file that is small, and the shipped filters are far from all of them.

use super::*;

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
const CORE: &[u8] = b"\0asm\x01\0\0\0";

fn leb(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn section(id: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![id];
    leb(data.len(), &mut out);
    out.extend_from_slice(data);
    out
}

fn component(sections: &[Vec<u8>]) -> Vec<u8> {
    [HEADER, &sections.concat()].concat()
}

/// A component with one module of these sections.
fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    component(&[section(1, &[CORE, &sections.concat()].concat())])
}

/// A component with one function: `locals` of them, and this code.
fn function(locals: usize, code: &[u8]) -> Vec<u8> {
    let mut body = vec![1];
    leb(locals, &mut body);
    body.push(0x7f);
    body.extend_from_slice(code);
    body.push(0x0b);
    let mut data = vec![1];
    leb(body.len(), &mut data);
    data.extend_from_slice(&body);
    module(&[section(10, &data)])
}

/// So many times the start and as many times the end of a block.
fn nested(opens: &[u8], count: usize) -> Vec<u8> {
    [opens.repeat(count), vec![0x0b; count]].concat()
}

fn scan(wasm: &[u8]) -> Result<(), String> {
    outline(wasm).and_then(|outline| bodies(wasm, &outline))
}

/// A section that says that it has so many items, all bytes zero.
fn counted(id: u8, count: usize) -> Vec<u8> {
    let mut data = Vec::new();
    leb(count, &mut data);
    section(id, &data)
}

#[test]
fn the_shipped_filters_pass_and_every_other_bound_is_named_with_its_place() {
    for shipped in refgate_filters::EMBEDDED {
        scan(shipped.wasm).unwrap();
    }
    let mut deep = HEADER.to_vec();
    for _ in 0..40 {
        deep = component(&[section(4, &deep)]);
    }
    let long_name = {
        let mut data = vec![1];
        leb(20_000, &mut data);
        data.extend(vec![b'a'; 20_000]);
        data.extend([0, 0]);
        data
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (deep, "levels of components around it, and at most 32"),
        (component(&vec![section(1, CORE); 1_001]), "1001 components and modules, and at most 1000"),
        (component(&[section(7, &[&[200][..], &[1, 0x42].repeat(2_000)].concat())]), "could nest"),
        (component(&[counted(7, 300_000)]), "it has 300000 types, and at most 200000"),
        (module(&[counted(1, 150_000), counted(1, 150_000)]), "it has 300000 types"),
        (module(&[counted(10, 300_000)]), "it has 300000 functions"),
        (module(&[counted(6, 300_000)]), "it has 300000 globals"),
        (module(&[section(7, &long_name)]), "it has a name that has 20000 bytes, and at most 16384"),
        (function(30_000, &[]), "its function 0 at byte 21 has 30000 locals, and at most 20000"),
        (function(1, &vec![0x01; 5 << 20]), "bytes, and at most 4194304"),
        (function(1, &nested(&[0x02, 0x40], 6_000)), "5001 blocks within one another, and at most 5000"),
        (function(500, &nested(&[0x03, 0x40], 2_000)), "101 loops within one another, and at most 100"),
        (function(1_000, &[0x41, 0, 0x04, 0x40, 0x0b].repeat(200_000)), "blocks times locals"),
    ];
    for (wasm, said) in cases {
        let error = scan(&wasm).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
        assert!(error.ends_with("are taken: build it smaller"), "{error}");
    }
}

#[test]
fn what_is_within_bounds_passes() {
    let mut deep = HEADER.to_vec();
    for _ in 0..30 {
        deep = component(&[section(4, &deep)]);
    }
    for wasm in [
        HEADER.to_vec(),
        deep,
        module(&[]),
        function(20_000, &[]),
        function(10, &nested(&[0x02, 0x40], 5_000)),
        function(10, &nested(&[0x03, 0x40], 100)),
        function(10, &nested(&[0x03, 0x40], 100).repeat(100)),
    ] {
        scan(&wasm).unwrap();
    }
}

#[test]
fn a_file_that_is_cut_off_or_damaged_anywhere_is_an_answer() {
    let wasm = refgate_filters::EMBEDDED[0].wasm;
    for at in (0..wasm.len()).step_by(wasm.len() / 300) {
        // Whatever comes out, it comes out.
        let _: Result<(), String> = scan(&wasm[..at.max(8)]);
        let mut bad = wasm.to_vec();
        bad[at] ^= 0x41;
        let _: Result<(), String> = scan(&bad);
    }
    let lies = component(&[section(1, &[CORE, &[10, 0xff, 0xff, 0x7f]].concat())]);
    assert!(scan(&lies).unwrap_err().contains("the section at byte 18 is not whole"));
    let lies = module(&[section(10, &[1, 0xff, 0x7f, 0])]);
    assert!(scan(&lies).unwrap_err().contains("the function at byte"));
}
