// swift-tools-version: 6.2
import PackageDescription

/// Fuzz targets. A package of their own, since they need unsafe flags, which no package that others use may have. The modules
/// under test are compiled here, with the fuzzer's counters in them: `Modules` holds links to their real folders.
let settings: [SwiftSetting] = [
  .enableExperimentalFeature("Lifetimes"), .unsafeFlags(["-sanitize=fuzzer", "-enable-testing"]),
]

/// libFuzzer without its main; `make fuzz` says where the toolchain has it.
let runtime = Context.environment["FUZZER_RUNTIME"] ?? "libclang_rt.fuzzer_no_main-x86_64.a"
let linked: [LinkerSetting] = [.unsafeFlags([runtime]), .linkedLibrary("stdc++")]

let package = Package(
  name: "needletail-fuzz",
  targets: [
    .target(name: "CNeedletail", path: "Modules/CNeedletail"),
    .systemLibrary(
      name: "CUring", path: "Modules/CUring", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    .systemLibrary(
      name: "CNghttp2", path: "Modules/CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
    .systemLibrary(name: "CZlib", path: "Modules/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "CFuzzer"),
    .target(name: "FuzzInput", dependencies: ["CFuzzer"]),
    .target(name: "NeedletailBytes", path: "Modules/Bytes", swiftSettings: settings),
    .target(
      name: "NeedletailRPC", dependencies: ["CNeedletail", "CNghttp2", "CUring", "CZlib", "NeedletailBytes"],
      path: "Modules/RPC", swiftSettings: settings),
    .target(name: "NeedletailRaft", path: "Modules/Raft", swiftSettings: settings),
    .target(
      name: "NeedletailWAL", dependencies: ["CNeedletail", "CUring"], path: "Modules/WAL", swiftSettings: settings),
    .executableTarget(
      name: "fuzz-step", dependencies: ["FuzzInput", "NeedletailRaft"], path: "Sources/FuzzStep",
      swiftSettings: settings, linkerSettings: linked),
    .executableTarget(
      name: "fuzz-log", dependencies: ["FuzzInput", "NeedletailWAL"], path: "Sources/FuzzLog", swiftSettings: settings,
      linkerSettings: linked),
    .executableTarget(
      name: "fuzz-grpc", dependencies: ["FuzzInput", "NeedletailBytes", "NeedletailRPC"], path: "Sources/FuzzGRPC",
      swiftSettings: settings, linkerSettings: linked),
  ],
  swiftLanguageModes: [.v6]
)
