//! What a WebSocket frame costs the engine: reading a client's, unmasking it, and the header of its
//! own. Must not touch sockets; the client's frames are written by the load generator's codec.
#![allow(clippy::unwrap_used)] // a set-up that fails ends the benchmark

mod suite;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use gridcast::frame::decode::{Decoded, Decoder};
use gridcast::frame::{Opcode, encode, mask};
use gridload::codec::wire;

/// A C37.118 data frame of a common PMU, a page, and the largest message of the default limits.
const PAYLOADS_BYTES: [usize; 3] = [92, 4 << 10, 1 << 20];
/// What one read of a busy publisher's socket may bring.
const BUFFER_BYTES: usize = 64 << 10;
const MESSAGE_BYTES_MAX: u32 = 1 << 20;
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

fn main() {
    suite::run(|criterion| {
        decode_a_buffer(criterion);
        unmask(criterion);
        write_headers(criterion);
    });
}

/// Time is per buffer, the rate per frame.
fn decode_a_buffer(criterion: &mut Criterion) {
    let (buffer, frames) = full_buffer();
    let mut group = criterion.benchmark_group("frame/decode");
    group.throughput(Throughput::Elements(frames));
    group.bench_function("92 B in 64 KiB", |bencher| {
        bencher.iter_batched_ref(
            || buffer.clone(),
            |buffer| assert_eq!(decode(buffer), frames),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn full_buffer() -> (Vec<u8>, u64) {
    let mut frame = Vec::new();
    wire::encode(wire::Opcode::Binary, &[0x5A; PAYLOADS_BYTES[0]], KEY, &mut frame);
    let frames = BUFFER_BYTES / frame.len();
    (frame.repeat(frames), frames as u64)
}

fn decode(buffer: &mut [u8]) -> u64 {
    let (mut decoder, mut rest, mut frames) = (Decoder::default(), buffer, 0);
    while let Decoded::Frame { consumed, event } =
        decoder.next(rest, MESSAGE_BYTES_MAX, false).unwrap()
    {
        black_box(event);
        rest = &mut rest[consumed..];
        frames += 1;
    }
    frames
}

fn unmask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/unmask");
    for bytes in PAYLOADS_BYTES {
        let mut payload = vec![0x5A; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| mask::apply(black_box(&mut payload), black_box(KEY)));
        });
    }
    group.finish();
}

fn write_headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame/header");
    for bytes in PAYLOADS_BYTES {
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| encode::header(black_box(Opcode::Binary), black_box(bytes as u64)));
        });
    }
    group.finish();
}
