<?php

namespace App\Notifications;

use App\Models\Order;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Notifications\Notification;

class OrderShipped extends Notification implements ShouldQueue
{
    use Queueable;

    public $tries = 10;

    public $backoff = [1, 2, 4, 8, 16, 32, 60]; // seconds

    public function __construct(private Order $order)
    {
        $this->afterCommit();
    }

    public function via($notifiable)
    {
        return [AionotifyChannel::class];
    }

    public function toAionotify($notifiable)
    {
        return [
            'event' => 'order.shipped',
            'data' => ['order' => $this->order->id],
            'id' => "order-{$this->order->id}-shipped",
        ];
    }
}
