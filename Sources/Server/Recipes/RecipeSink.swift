// Answers that the server's own recipes wait for come to them; all others go where they belong.
import NeedletailRPC

final class RecipeSink: ReplySink {
  private let others: any ReplySink
  private let inbox: Inbox<RecipeThread.Message>

  init(_ others: any ReplySink, _ inbox: Inbox<RecipeThread.Message>) {
    self.others = others
    self.inbox = inbox
  }

  func reply(to address: ReplyAddress, status: UInt32, body: UnsafeRawBufferPointer) {
    guard address.reactor == RecipeThread.reactor else {
      return others.reply(to: address, status: status, body: body)
    }
    inbox.post(.answered(call: address.stream, status: status, body: [UInt8](body)))
  }

  func deliver(_ delivery: StreamDelivery, to reactor: UInt16) {
    guard reactor == RecipeThread.reactor else { return others.deliver(delivery, to: reactor) }
    inbox.post(.delivered(delivery))
  }
}
