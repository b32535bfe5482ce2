//! What a signature costs: both headers, against one bare HMAC over the same bytes.
//!
//! Both headers are two HMACs, so that a ratio near 2 says that nothing else weighs.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use walhook::delivery::signature::sign;
use walhook::secret::SigningSecret;

const ID: &str = "evt_0198c0de-0000-7000-8000-000000000000";

fn signature(criterion: &mut Criterion) {
    let secret = SigningSecret::generate();
    for bytes in [400, 4096, 65_536] {
        let body = vec![b'x'; bytes];
        let mut group = criterion.benchmark_group(format!("signature/{bytes}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("bare_hmac", |bencher| {
            bencher.iter(|| bare_hmac(secret.key(), black_box(&body)));
        });
        group.bench_function("sign", |bencher| {
            bencher.iter(|| sign(ID, black_box(1_795_435_200), &body, &[&secret], &[]));
        });
        group.finish();
    }
}

/// The ratio itself, by the best of several rounds on either side.
fn ratio(_: &mut Criterion) {
    const ROUNDS: u32 = 20;
    const CALLS: u32 = 2_000;
    let secret = SigningSecret::generate();
    let body = vec![b'x'; 400];
    let best = |call: &dyn Fn()| {
        let rounds = (0..ROUNDS).map(|_| {
            let began = Instant::now();
            (0..CALLS).for_each(|_| call());
            began.elapsed() / CALLS
        });
        rounds.min().unwrap_or_default()
    };
    let bare = best(&|| drop(black_box(bare_hmac(secret.key(), &body))));
    let signed = best(&|| drop(black_box(sign(ID, 1_795_435_200, &body, &[&secret], &[]))));
    let ratio = signed.as_secs_f64() / bare.as_secs_f64();
    println!("400 bytes: both headers {signed:?}, one bare HMAC {bare:?}, ratio {ratio:.2}");
}

fn bare_hmac(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

criterion_group!(benches, signature, ratio);
criterion_main!(benches);
