<?php

namespace App\Notifications;

use Illuminate\Notifications\Notification;
use Illuminate\Support\Facades\Http;

class AionotifyChannel
{
    // The event has an id, so it may be sent again and is delivered once.
    public function send($notifiable, Notification $notification)
    {
        $event = ['recipient_id' => $notifiable->getKey()] + $notification->toAionotify($notifiable);

        Http::withToken(config('services.aionotify.key'))
            ->timeout(5)
            ->post(config('services.aionotify.url').'/publish', $event)
            ->throw();
    }
}
