//! Structs in Thrift's compact protocol, in which Parquet keeps its metadata.

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A struct whose fields are added in ascending order of their ids.
#[derive(Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

impl Struct {
    pub(super) fn int(self, field: u8, value: i32) -> Self {
        self.field(field, I32, |out| zigzag(out, value.into()))
    }

    pub(super) fn long(self, field: u8, value: i64) -> Self {
        self.field(field, I64, |out| zigzag(out, value))
    }

    pub(super) fn text(self, field: u8, value: &str) -> Self {
        self.field(field, BINARY, |out| binary(out, value))
    }

    pub(super) fn nested(self, field: u8, value: Struct) -> Self {
        self.field(field, STRUCT, |out| out.extend(value.finish()))
    }

    pub(super) fn ints(self, field: u8, values: &[i32]) -> Self {
        self.list(field, I32, values, |out, value| zigzag(out, i64::from(*value)))
    }

    pub(super) fn texts(self, field: u8, values: &[&str]) -> Self {
        self.list(field, BINARY, values, |out, value| binary(out, value))
    }

    pub(super) fn structs(self, field: u8, values: Vec<Struct>) -> Self {
        let values: Vec<Vec<u8>> = values.into_iter().map(Struct::finish).collect();
        self.list(field, STRUCT, &values, |out, value| out.extend_from_slice(value))
    }

    /// The bytes, with the mark that ends a struct.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }

    fn list<T>(self, field: u8, kind: u8, values: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Self {
        self.field(field, LIST, |out| {
            match values.len() {
                short @ 0..15 => out.push((short as u8) << 4 | kind),
                long => {
                    out.push(0xf0 | kind);
                    varint(out, long as u64);
                }
            }
            values.iter().for_each(|value| write(out, value));
        })
    }

    fn field(mut self, field: u8, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        debug_assert!(field > self.last && field - self.last < 16, "fields ascend");
        self.bytes.push((field - self.last) << 4 | kind);
        self.last = field;
        write(&mut self.bytes);
        self
    }
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(out: &mut Vec<u8>, value: i64) {
    varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn binary(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
