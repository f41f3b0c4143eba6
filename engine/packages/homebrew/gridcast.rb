# The formula of Homebrew, which builds both programs from a source archive. scripts/release writes
# the place and the checksum of the archive into it. Must not be installed as it stands here.
class Gridcast < Formula
  desc "WebSocket broadcast engine, and its load generator"
  url "@URL@"
  sha256 "@SHA256@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build
  # It works with epoll, eventfd and descriptor tables of threads.
  depends_on :linux

  def install
    system "cargo", "install", *std_cargo_args(path: "engine/server")
    system "cargo", "install", *std_cargo_args(path: "loadgen")
    etc.install "engine/gridcast.toml" => "gridcast/gridcast.toml"
  end

  service do
    run [opt_bin/"gridcast", "--config", etc/"gridcast/gridcast.toml"]
    keep_alive true
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/gridcast --version")
    system bin/"gridcast", "config", "--check"
  end
end
