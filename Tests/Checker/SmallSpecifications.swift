// A register in Jepsen's words, and texts by key in those of the key-value logs.

struct RegisterSpecification: Specification {
  enum Operation { case read, write(Int), compareAndSet(Int, Int) }

  private var value: Int?

  mutating func apply(_ operation: Operation, start: Int, wanted: String?) -> (answer: String, notBefore: Int)? {
    switch operation {
    case .read: return (":ok\t:read\t" + (value.map(String.init) ?? "nil"), 0)
    case .write(let new):
      value = new
      return (":ok\t:write\t\(new)", 0)
    case .compareAndSet(let old, let new):
      guard value == old else { return (":fail\t:cas\t[\(old) \(new)]", 0) }
      value = new
      return (":ok\t:cas\t[\(old) \(new)]", 0)
    }
  }

  static func random(_ random: inout SeededGenerator, value: Int, of state: Self) -> Operation {
    switch random.below(4) {
    case 0, 1: .read
    case 2: .write(random.below(4))
    default: .compareAndSet(random.below(4), random.below(4))
    }
  }

  static func request(_ operation: Operation) -> String? {
    switch operation {
    case .read: ":invoke\t:read\tnil"
    case .write(let new): ":invoke\t:write\t\(new)"
    case .compareAndSet(let old, let new): ":invoke\t:cas\t[\(old) \(new)]"
    }
  }

  static func lost(_ operation: Operation) -> String {
    switch operation {
    case .read: ":fail\t:read\t:timed-out"
    case .write: ":info\t:write\t:timed-out"
    case .compareAndSet: ":info\t:cas\t:timed-out"
    }
  }

  static func line(process: Int, time: Int, _ text: String) -> String { "INFO  jepsen.util - \(process)\t\(text)" }
}

/// What clients put and append.
protocol TextSource {
  static func text(_ random: inout SeededGenerator, value: Int) -> String
}

/// Few different values, so that different ways lead to equal texts.
enum FewTexts: TextSource {
  static func text(_ random: inout SeededGenerator, value: Int) -> String { ["", "a", "b", "ab"][random.below(4)] }
}

enum UniqueTexts: TextSource {
  static func text(_ random: inout SeededGenerator, value: Int) -> String { "x \(value) y" }
}

struct TextSpecification<Source: TextSource>: Specification {
  enum Operation {
    case get(Int)
    case put(Int, String)
    case append(Int, String)

    var name: String {
      switch self {
      case .get(let key): ":f :get, :key \"\(key)\""
      case .put(let key, _): ":f :put, :key \"\(key)\""
      case .append(let key, _): ":f :append, :key \"\(key)\""
      }
    }
  }

  private var texts: [Int: String] = [:]

  mutating func apply(_ operation: Operation, start: Int, wanted: String?) -> (answer: String, notBefore: Int)? {
    let value: String
    switch operation {
    case .get(let key): value = texts[key] ?? ""
    case .put(let key, let text):
      value = text
      texts[key] = text
    case .append(let key, let text):
      value = text
      texts[key, default: ""] += text
    }
    return (":type :ok, \(operation.name), :value \"\(value)\"", 0)
  }

  static func random(_ random: inout SeededGenerator, value: Int, of state: Self) -> Operation {
    let key = random.below(4) / 3
    switch random.below(10) {
    case 0...4: return .get(key)
    case 5: return .put(key, Source.text(&random, value: value))
    default: return .append(key, Source.text(&random, value: value))
    }
  }

  static func request(_ operation: Operation) -> String? {
    switch operation {
    case .get: ":type :invoke, \(operation.name), :value nil"
    case .put(_, let text), .append(_, let text): ":type :invoke, \(operation.name), :value \"\(text)\""
    }
  }

  static func lost(_ operation: Operation) -> String { ":type :info, \(operation.name), :value nil" }

  static func line(process: Int, time: Int, _ text: String) -> String { "{:process \(process), \(text)}" }
}
