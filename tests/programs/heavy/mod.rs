//! Components that are small and ask for very much before anything of them runs: what parsers, the schema of settings and
//! the compiler do with them takes minutes or gigabytes where nothing bounds it. None is a filter; they are made when tests
//! run, and no file of them is kept.

/// What a component begins with.
const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// What a core module begins with.
const CORE: &[u8] = b"\0asm\x01\0\0\0";

fn number(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn section(id: u8, data: &[u8]) -> Vec<u8> {
    [&[id][..], &number(data.len()), data].concat()
}

/// Components within one another, so deep.
pub fn nested_components(depth: usize) -> Vec<u8> {
    // From the inside: what stands before each is known when all within it is.
    let (mut before, mut size) = (Vec::new(), HEADER.len());
    for _ in 0..depth {
        let header = [&[4][..], &number(size)].concat();
        size += HEADER.len() + header.len();
        before.push(header);
    }
    let mut out = Vec::new();
    before.iter().rev().for_each(|header| out.extend([HEADER, header].concat()));
    [out, HEADER.to_vec()].concat()
}

/// Types of components within one another, so deep: three bytes for each.
pub fn nested_types(depth: usize) -> Vec<u8> {
    let types = [&[1][..], &[0x41, 1, 1].repeat(depth), &[0x41, 0]].concat();
    [HEADER, &section(7, &types)].concat()
}

/// A component with one function of so many locals.
fn function(locals: usize, code: &[u8]) -> Vec<u8> {
    let body = [&[1][..], &number(locals), &[0x7f], code, &[0x0b]].concat();
    let code = [&[1][..], &number(body.len()), &body].concat();
    let module = [CORE, &section(1, &[1, 0x60, 0, 0]), &section(3, &[1, 0]), &section(10, &code)].concat();
    [HEADER, &section(1, &module)].concat()
}

/// One function with loops within one another that all change locals: the compiler takes time by the square and worse.
pub fn nested_loops(depth: usize, locals: usize) -> Vec<u8> {
    let mut code = Vec::new();
    for i in 0..depth {
        code.extend([&[0x03, 0x40, 0x20][..], &number(i % locals), &[0x41, 1, 0x6a, 0x21]].concat());
        code.extend(number(i * 7 % locals));
    }
    (0..depth).for_each(|i| code.extend([&[0x20][..], &number(i % locals), &[0x0d, 0, 0x0b]].concat()));
    function(locals, &code)
}

/// One function of that many bytes of conditions that all change locals.
pub fn conditions(bytes: usize, locals: usize) -> Vec<u8> {
    let mut code = Vec::new();
    let mut i = 0;
    while code.len() < bytes {
        code.extend([&[0x20][..], &number(i % locals), &[0x04, 0x40, 0x41, 1, 0x21]].concat());
        code.extend(number(i * 7 % locals));
        code.push(0x0b);
        i += 1;
    }
    function(locals, &code)
}

/// A manifest whose settings schema has so many patterns, each small to write and large to compile.
pub fn patterns(count: usize) -> Vec<u8> {
    let all: Vec<String> = (0..count).map(|i| format!(r#""x{i}(?:a{{90}}){{90}}":true"#)).collect();
    let manifest = format!(r#"{{"settings":{{"patternProperties":{{{}}}}}}}"#, all.join(","));
    let name = "refgate:manifest";
    let data = [&number(name.len())[..], name.as_bytes(), manifest.as_bytes()].concat();
    [HEADER, &section(0, &data)].concat()
}

/// Every kind, as large as it has to be to take a machine that bounds nothing, with a name.
pub fn all() -> [(&'static str, Vec<u8>); 6] {
    [
        ("components", nested_components(12_000)),
        ("types", nested_types(100_000)),
        ("loops", nested_loops(4_000, 500)),
        ("conditions", conditions(1 << 20, 1_000)),
        ("patterns", patterns(9_000)),
        // Within all that a scan can bound: only whoever compiles it finds out.
        ("slow", slow()),
    ]
}

/// What a scan lets pass, and the compiler works on for tens of seconds.
pub fn slow() -> Vec<u8> {
    conditions(300_000, 1_000)
}
