class Order < ActiveRecord::Base
  belongs_to :buyer, class_name: "User"

  after_commit :tell_buyer, if: :saved_change_to_shipped?

  private

  def tell_buyer
    PublishJob.perform_later(
      "recipient_id" => buyer.id,
      "event" => "order.shipped",
      "data" => { "order" => id },
      "id" => "order-#{id}-shipped"
    )
  end
end
