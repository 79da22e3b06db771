// swift-tools-version: 6.2
import PackageDescription

/// Borrowed views (`RawSpan`, `ReadTransaction`) that the compiler won't let escape need lifetime annotations.
let settings: [SwiftSetting] = [.enableExperimentalFeature("Lifetimes")]

/// Imports go downwards only; docs/architecture.md draws the picture.
let package = Package(
  name: "needletail",
  products: [
    .library(name: "NeedletailBackend", targets: ["NeedletailBackend"]),
    .library(name: "NeedletailSnapshot", targets: ["NeedletailSnapshot"]),
    .library(name: "NeedletailClient", targets: ["NeedletailClient"]),
    .executable(name: "needletail", targets: ["needletail"]),
    .executable(name: "needletailctl", targets: ["needletailctl"]),
    .executable(name: "needletail-bench", targets: ["needletail-bench"]),
    .executable(name: "needletail-sim", targets: ["needletail-sim"]),
  ],
  traits: [.trait(name: "Mutants", description: "Bugs to switch on, for tests of the tests. Never for use.")],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // C, header-only shims.
    .target(name: "CNeedletail", path: "Sources/CNeedletail"),
    .systemLibrary(
      name: "CUring", path: "Sources/CUring", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),

    .systemLibrary(name: "CYAML", path: "Sources/CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "CZstd", path: "Sources/CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(
      name: "CNghttp2", path: "Sources/CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
    .systemLibrary(name: "CZlib", path: "Sources/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(
      name: "COpenSSL", path: "Sources/COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),

    // The buffer that answers are written into: storage fills it, the wire sends it.
    .target(name: "NeedletailBytes", path: "Sources/Bytes", swiftSettings: settings),

    // The engine and the log know nothing of each other.
    .target(
      name: "NeedletailBackend", dependencies: ["CNeedletail"], path: "Sources/Backend", swiftSettings: settings),
    .target(
      name: "NeedletailWAL", dependencies: ["CNeedletail", "CUring"], path: "Sources/WAL", swiftSettings: settings),

    // Copies of whole databases. Apart, so that embedding the engine needs neither zstd nor OpenSSL.
    .target(
      name: "NeedletailSnapshot", dependencies: ["CNeedletail", "COpenSSL", "CZstd", "NeedletailBackend"],
      path: "Sources/Snapshot", swiftSettings: settings),

    // Simulated hardware: for tests only.
    .target(
      name: "NeedletailSimulator", dependencies: ["NeedletailBackend"], path: "Sources/Simulator",
      swiftSettings: settings),

    // Consensus: a state machine that imports nothing, and the rig that replays published scripts against it.
    .target(name: "NeedletailRaft", path: "Sources/Raft", swiftSettings: settings),
    .target(
      name: "NeedletailRaftScript", dependencies: ["NeedletailRaft"], path: "Sources/RaftScript",
      swiftSettings: settings),
    // Linearizability of recorded histories.
    .target(name: "NeedletailChecker", path: "Sources/Checker", swiftSettings: settings),

    // Whole clusters of the real parts on simulated disks, network and time.
    .target(
      name: "NeedletailClusterSimulator",
      dependencies: [
        "NeedletailBackend", "NeedletailBytes", "NeedletailChecker", "NeedletailMVCC", "NeedletailRaft",
        "NeedletailRPC", "NeedletailSimulator", "NeedletailWAL",
      ], path: "Sources/ClusterSimulator", swiftSettings: settings),

    .executableTarget(
      name: "needletail-sim",
      dependencies: [
        "NeedletailChecker", "NeedletailClusterSimulator", "NeedletailRaftScript", "NeedletailSimulator",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/needletail-sim", swiftSettings: settings),

    // Thin layers on top.
    .target(
      name: "NeedletailMVCC", dependencies: ["CNeedletail", "NeedletailBackend", "NeedletailBytes"],
      path: "Sources/MVCC", swiftSettings: settings),
    .target(
      name: "NeedletailRPC", dependencies: ["CNeedletail", "CNghttp2", "CUring", "CZlib", "NeedletailBytes"],
      path: "Sources/RPC", swiftSettings: settings),
    .target(
      name: "NeedletailServer",
      dependencies: [
        "CNeedletail", "NeedletailBytes", "NeedletailBackend", "NeedletailSnapshot", "NeedletailWAL", "NeedletailMVCC",
        "NeedletailRPC", .product(name: "Logging", package: "swift-log"),
      ], path: "Sources/Server", swiftSettings: settings),
    .target(
      name: "NeedletailClient", dependencies: ["CNeedletail", "NeedletailRPC"], path: "Sources/Client",
      swiftSettings: settings),

    // The programs.
    .executableTarget(
      name: "needletail",
      dependencies: [
        "CYAML", "NeedletailBackend", "NeedletailRPC", "NeedletailServer", "NeedletailSnapshot", "NeedletailWAL",
        .product(name: "Logging", package: "swift-log"),
      ], path: "Sources/needletail", swiftSettings: settings),
    .executableTarget(
      name: "needletailctl",
      dependencies: ["NeedletailClient", "NeedletailRPC", "NeedletailServer", "NeedletailSnapshot"],
      path: "Sources/needletailctl", swiftSettings: settings),

    // The benchmarks, and the peers' C libraries, which nothing else needs.
    .systemLibrary(name: "CLMDB", path: "Benchmarks/CLMDB", providers: [.apt(["liblmdb-dev"])]),
    .systemLibrary(name: "CRocksDB", path: "Benchmarks/CRocksDB", providers: [.apt(["librocksdb-dev"])]),
    .executableTarget(
      name: "needletail-bench",
      dependencies: [
        "CLMDB", "CRocksDB", "CNeedletail", "NeedletailBackend", "NeedletailRPC",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ], path: "Benchmarks/needletail-bench", swiftSettings: settings),

    // One folder of tests per module.
    .testTarget(
      name: "BackendTests", dependencies: ["CNeedletail", "NeedletailBackend", "NeedletailSimulator"],
      path: "Tests/Backend",
      swiftSettings: settings),
    .testTarget(
      name: "SnapshotTests", dependencies: ["NeedletailSnapshot", "NeedletailBackend"], path: "Tests/Snapshot",
      swiftSettings: settings),
    .testTarget(
      name: "RaftTests", dependencies: ["NeedletailRaft"], path: "Tests/Raft", swiftSettings: settings),
    .testTarget(
      name: "ConformanceTests", dependencies: ["NeedletailRaftScript"], path: "Tests/Conformance",
      swiftSettings: settings),
    .testTarget(name: "WALTests", dependencies: ["NeedletailWAL"], path: "Tests/WAL", swiftSettings: settings),
    .testTarget(
      name: "MVCCTests", dependencies: ["NeedletailMVCC", "NeedletailBackend", "NeedletailBytes"], path: "Tests/MVCC",
      swiftSettings: settings),
    .testTarget(
      name: "RPCTests", dependencies: ["NeedletailRPC", "CNeedletail"], path: "Tests/RPC", swiftSettings: settings),
    .testTarget(
      name: "ClientTests", dependencies: ["NeedletailClient", "NeedletailRPC", "FakeServer"], path: "Tests/Client",
      swiftSettings: settings),
    .testTarget(
      name: "needletailctlTests", dependencies: ["needletailctl", "NeedletailClient", "NeedletailRPC", "FakeServer"],
      path: "Tests/needletailctl", swiftSettings: settings),
    .testTarget(
      name: "needletailTests", dependencies: ["needletail", "NeedletailRPC", "NeedletailServer"],
      path: "Tests/needletail",
      swiftSettings: settings),
    .target(
      name: "FakeServer", dependencies: ["NeedletailClient", "NeedletailRPC"], path: "Tests/FakeServer",
      swiftSettings: settings),
    .testTarget(
      name: "ClusterSimulatorTests",
      dependencies: ["NeedletailClusterSimulator", "NeedletailMVCC", "NeedletailRaft", "NeedletailSimulator"],
      path: "Tests/ClusterSimulator", swiftSettings: settings),
    .testTarget(
      name: "CheckerTests", dependencies: ["NeedletailChecker"], path: "Tests/Checker", swiftSettings: settings),
    .testTarget(
      name: "ServerTests",
      dependencies: [
        "CNghttp2", "NeedletailServer", "NeedletailClient", "NeedletailBackend", "NeedletailBytes", "NeedletailMVCC",
        "NeedletailRPC", "NeedletailSnapshot", "NeedletailWAL", .product(name: "Logging", package: "swift-log"),
      ], path: "Tests/Server", swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
