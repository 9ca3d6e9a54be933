//! Signatures as text: two functions are alike when their texts are.

use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind, TypeId};

/// `func(a: u32) -> list<u8>`, with every named type but resources written out.
pub fn signature(resolve: &Resolve, function: &Function) -> String {
    let params: Vec<String> =
        function.params.iter().map(|p| format!("{}: {}", p.name, text(resolve, &p.ty))).collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", text(resolve, ty)));
    format!("func({}){}", params.join(", "), result.unwrap_or_default())
}

fn text(resolve: &Resolve, ty: &Type) -> String {
    let name = match ty {
        Type::Id(id) => return defined(resolve, *id),
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U16 => "u16",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::S8 => "s8",
        Type::S16 => "s16",
        Type::S32 => "s32",
        Type::S64 => "s64",
        Type::F32 => "f32",
        Type::F64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::ErrorContext => "error-context",
    };
    name.to_owned()
}

fn defined(resolve: &Resolve, id: TypeId) -> String {
    let of = |ty: &Type| text(resolve, ty);
    let maybe = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), of);
    let list = |items: Vec<String>| items.join(", ");
    let def = &resolve.types[id];
    match &def.kind {
        TypeDefKind::Type(ty) => of(ty),
        TypeDefKind::Resource => def.name.clone().unwrap_or_default(),
        TypeDefKind::Handle(Handle::Own(id)) => defined(resolve, *id),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", defined(resolve, *id)),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", of(ty)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", of(key), of(value)),
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", maybe(&result.ok), maybe(&result.err)),
        TypeDefKind::Tuple(tuple) => format!("tuple<{}>", list(tuple.types.iter().map(of).collect())),
        TypeDefKind::Future(ty) => format!("future<{}>", maybe(ty)),
        TypeDefKind::Stream(ty) => format!("stream<{}>", maybe(ty)),
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter().map(|f| format!("{}: {}", f.name, of(&f.ty)));
            format!("record {{ {} }}", list(fields.collect()))
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|c| match &c.ty {
                Some(ty) => format!("{}({})", c.name, of(ty)),
                None => c.name.clone(),
            });
            format!("variant {{ {} }}", list(cases.collect()))
        }
        TypeDefKind::Enum(cases) => {
            format!("enum {{ {} }}", list(cases.cases.iter().map(|c| c.name.clone()).collect()))
        }
        TypeDefKind::Flags(flags) => {
            format!("flags {{ {} }}", list(flags.flags.iter().map(|f| f.name.clone()).collect()))
        }
        TypeDefKind::Unknown => "unknown".to_owned(),
    }
}
