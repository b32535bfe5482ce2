//! What axe-core finds: the rules of WCAG 2.2, A and AA, and its own of good practice.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::looks::pages;
use crate::npm::{Package, notice};
use crate::stage::Stage;

const AXE: Package = Package {
    name: "axe-core",
    release: "4.14.1",
    checksum: "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
};

/// Each violation with the first element that has it.
const FINDINGS: &str = "axe.run().then(({ violations, passes }) =>
    passes.length < 10 ? [`only ${passes.length} rules applied`] : violations.map((one) => `${one.id}: ${one.help}: ${one.nodes[0].html}`))";

#[tokio::test]
async fn axe_finds_nothing_on_any_page_in_either_theme_at_either_size() {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    fs::create_dir_all(&home).unwrap();
    let axe = match AXE.available(&home, |_| {}) {
        Ok(package) => fs::read_to_string(package.join("axe.min.js")).unwrap(),
        Err(reason) => return notice(&format!("SKIPPED: axe-core: {reason}")),
    };
    let Some(mut stage) = Stage::set().await else {
        return;
    };
    stage.sign_in().await;
    for (width, height) in [(1280, 800), (360, 640)] {
        stage.chromium.size(width, height).await;
        for scheme in ["light", "dark"] {
            stage.chromium.prefers(scheme).await;
            for (_, path) in pages(&stage) {
                stage.open(&path).await;
                stage.chromium.run(&axe).await;
                let found = stage.chromium.run(FINDINGS).await;
                assert_eq!(found, json!([]), "{path} {scheme} {width}");
            }
        }
    }
    stage.assert_quiet("axe");
}
