//! What a signature costs: both headers, against one bare HMAC over the same bytes.
//!
//! Both headers are two HMACs, so that a ratio near 2 says that nothing else weighs.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::hint::black_box;
use walhook::delivery::signature::sign;
use walhook::secret::SigningSecret;

fn signature(criterion: &mut Criterion) {
    let secret = SigningSecret::generate();
    let id = "evt_0198c0de-0000-7000-8000-000000000000";
    for bytes in [400, 4096, 65_536] {
        let body = vec![b'x'; bytes];
        let mut group = criterion.benchmark_group(format!("signature/{bytes}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("bare_hmac", |bencher| {
            bencher.iter(|| {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret.key()).expect("any length");
                mac.update(black_box(&body));
                mac.finalize().into_bytes()
            });
        });
        group.bench_function("sign", |bencher| {
            bencher.iter(|| sign(id, black_box(1_795_435_200), &body, &[&secret]));
        });
        group.finish();
    }
}

criterion_group!(benches, signature);
criterion_main!(benches);
