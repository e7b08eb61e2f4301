//! The pages in headless Chromium, by `scripts/view-tests.mjs`. Without a graphics card they are drawn by the processor, and a
//! busy one takes too long for the script's patience: so this runs only if it is asked for, with `BRAINMVP_BROWSER=1`. `BRAINMVP_SHOTS` names a folder for
//! pictures of the pages.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::Place;

/// Debian calls it `chromium`.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn pages_work_in_a_browser() {
    if std::env::var_os("BRAINMVP_BROWSER").is_none() {
        println!("skipped: set BRAINMVP_BROWSER=1 to try the pages in Chromium");
        return;
    }
    let browser = BROWSERS.into_iter().find(|browser| is_there(browser));
    let Some(browser) = browser.filter(|_| is_there("node")) else {
        println!("skipped: node and Chromium are needed (Debian: apt-get install nodejs chromium)");
        return;
    };
    let place = Place::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/view-tests.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(format!("http://127.0.0.1:{}/{}/", place.port, place.token));
    if let Some(folder) = std::env::var_os("BRAINMVP_SHOTS") {
        command.arg("--shots").arg(folder);
    }
    let output = command.arg("--run").arg(place.path("run")).env("CHROMIUM", browser).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
